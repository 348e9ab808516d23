"""A folder of corrupted test images, for the evaluation after the run: is it whole, and of this data set?"""

import shlex
from collections.abc import Iterator
from pathlib import Path

from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS
from tenet.doctor.findings import Finding, ok, problem
from tenet.doctor.plan import Plan
from tenet.files.json import read_json


def check(plan: Plan) -> Iterator[Finding]:
    from tenet.corruptions.sources import ArchivedCorruptions

    assert plan.corruptions is not None
    splits = plan.splits
    # Of another data set, broken, cut short: all refused here, with what to do. Stand-ins have random labels.
    clean = None if plan.stands_in else (splits.test.images, splits.test.labels)
    source = ArchivedCorruptions(plan.corruptions, classes=splits.classes, clean=clean)
    if missing := [name for name in CORRUPTIONS if name not in source.names]:
        yield problem(
            f"{source.root} lacks {', '.join(missing)} of the 15 corruptions: there would be no mCE",
            _fetch(source.root),
        )
    extra = sum(name in EXTRA_CORRUPTIONS for name in source.names)
    yield ok(
        f"{source.root}: {len(source.names) - extra} of 15 corruptions and {extra} of 4 extra ones, "
        f"{'made by the generator' if source.kind == 'generated' else 'official layout'}, fits the data set"
    )
    yield check_sums(source.root)


def _fetch(root: Path) -> str:
    from tenet.corruptions.published import ARCHIVES

    for name, archive in ARCHIVES.items():
        if archive.folder_name == root.name:
            return f"python -m tenet.corruptions.download {name} {shlex.quote(str(root.parent))}"
    return "unpack the whole archive"


def check_sums(root: Path) -> Finding:
    """SHA-256 of every file where a manifest holds them; of the official archives only the tar's MD5 is
    published, which the downloader verifies before it unpacks."""
    from tenet.corruptions.published import ARCHIVES
    from tenet.corruptions.transfer import md5_and_size
    from tenet.corruptions.write import blocks_of, digest_of
    from tenet.files.names import MANIFEST_FILE

    manifest = root / MANIFEST_FILE
    if manifest.exists():
        sums = read_json(manifest).get("sha256", {})
        changed = [
            name
            for name, known in sums.items()
            if not (root / name).is_file() or digest_of(blocks_of(root / name)) != known
        ]
        if changed:
            return problem(
                f"{root}: not as {MANIFEST_FILE} has it: {', '.join(changed)}", "make the archive again"
            )
        return ok(f"{len(sums)} files, SHA-256 as in {MANIFEST_FILE}")
    for archive in ARCHIVES.values():
        packed = root.parent / archive.file_name
        if archive.folder_name == root.name and packed.is_file():
            md5, size = md5_and_size(packed)
            if (size, md5.hexdigest()) != (archive.size, archive.md5):
                return problem(
                    f"{packed} is not the published archive", f"rm {shlex.quote(str(packed))}; {_fetch(root)}"
                )
            return ok(f"{packed}: MD5 as published")
    return ok("checksums are published for the archive alone; the downloader verifies it before it unpacks")
