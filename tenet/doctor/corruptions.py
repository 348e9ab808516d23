"""A folder of corrupted test images for the later evaluation: is it complete, and does it fit the data set?"""

import shlex
from collections.abc import Iterator

from tenet.corruptions.archive import open_archive
from tenet.corruptions.names import CORRUPTIONS
from tenet.corruptions.published import ARCHIVES
from tenet.doctor.findings import Finding, Plan, ok, problem
from tenet.files.json import read_json
from tenet.files.names import MANIFEST_FILE
from tenet.files.plain import sha256_of


def check(plan: Plan) -> Iterator[Finding]:
    assert plan.corruptions is not None
    test = plan.experiment.splits.test
    # Refuses an archive that is damaged, incomplete or of another data set. The labels of stand-ins are random.
    archive = open_archive(plan.corruptions, test=test, has_labels=not plan.has_stand_ins)
    root = archive.root
    if missing := [name for name in CORRUPTIONS if name not in archive.names]:
        remedy = "unpack the whole archive"
        for name, published in ARCHIVES.items():
            if published.folder_name == root.name:
                remedy = f"python -m tenet.corruptions.download {name} {shlex.quote(str(root.parent))}"
        what = f"{root} lacks {', '.join(missing)} of the 15 corruptions: there would be no mCE"
        yield problem(what, remedy)
    in_mean = len(CORRUPTIONS) - len(missing)
    kind = "made by the generator" if archive.kind == "generated" else "official layout"
    yield ok(
        f"{root}: {in_mean} of 15 corruptions and {len(archive.names) - in_mean} of 4 extra ones, {kind}, "
        "fits the data set"
    )
    if not (root / MANIFEST_FILE).exists():
        yield ok(
            "checksums are published for the archive alone; the downloader verifies it before it unpacks"
        )
        return
    sums = read_json(root / MANIFEST_FILE).get("sha256", {})
    files = {name: root / name for name in sums}
    changed = [name for name, file in files.items() if not file.is_file() or sha256_of(file) != sums[name]]
    if changed:
        what = f"{root}: differs from {MANIFEST_FILE}: {', '.join(changed)}"
        yield problem(what, "make the archive again")
    else:
        yield ok(f"{len(sums)} files, SHA-256 as in {MANIFEST_FILE}")
