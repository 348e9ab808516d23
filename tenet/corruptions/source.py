"""What corrupted images come from, by content: the same wherever the files lie, another for other images."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tenet.corruptions.archive import FolderArchive, OfficialArchive
from tenet.corruptions.generator import GeneratedCorruptions
from tenet.corruptions.names import CORRUPTIONS, GENERATOR_VERSION, SEVERITIES
from tenet.data import ImageArrays, ImageSource
from tenet.files.json import read_json
from tenet.files.names import MANIFEST_FILE

# What is read of an archive: enough to tell two apart, a moment's reading of gigabytes.
MAX_FILES, MAX_BLOCKS, BLOCK_BYTES = 256, 1024, 2**16


def describe_source(images: object, *, test: ImageSource) -> dict[str, Any] | None:
    """Kind, and seed and version of the generator, or name and fingerprint of the archive; None if `images` is neither.

    An archive that this version of the package wrote from these test images holds the pixels of the generator, and is
    described as the generator is.
    """
    if isinstance(images, GeneratedCorruptions):
        return _generator(images.seed)
    if isinstance(images, OfficialArchive | FolderArchive):
        manifest = read_json(images.root / MANIFEST_FILE)
        if _is_of_this_version(manifest, test):
            return _generator(manifest["seed"])
        name = images.root.resolve().name
        return {"kind": images.kind, "archive": name, "fingerprint": archive_fingerprint(images)}
    return None


def _generator(seed: int) -> dict[str, Any]:
    return {"kind": GeneratedCorruptions.kind, "seed": seed, "generator": GENERATOR_VERSION}


def _is_of_this_version(manifest: Mapping[str, Any], test: ImageSource) -> bool:
    if manifest.get("generator_version") != GENERATOR_VERSION or type(manifest.get("seed")) is not int:
        return False
    if not isinstance(test, ImageArrays):
        return False
    images = hashlib.sha256(test.images.cpu().contiguous().numpy().data).hexdigest()
    return manifest.get("images_sha256") == images


def archive_fingerprint(archive: OfficialArchive | FolderArchive) -> str:
    """Of the labels and of the benchmark's 15 corruptions, as far as they are there: extra files change nothing."""
    root = archive.root
    names = [name for name in archive.names if name in CORRUPTIONS] or list(archive.names)
    if isinstance(archive, OfficialArchive):
        return files_fingerprint([root / "labels.npy", *(root / f"{name}.npy" for name in names)], root=root)
    # Listing millions of files takes minutes: the first and the last class of each cell.
    classes = [archive.classes[0], archive.classes[-1]]
    folders = [
        archive.folder(name, severity) / label
        for name in names
        for severity in SEVERITIES
        for label in classes
    ]
    files = (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
    return files_fingerprint(files, root=root)


def files_fingerprint(paths: Iterable[Path], *, root: Path) -> str:
    """A short text over names and sizes of all files, and over evenly spaced blocks of evenly spaced files.

    Equal for a copy elsewhere. A change of single images within files of gigabytes may go unnoticed.
    """
    files = {str(path.relative_to(root)): path for path in paths}
    sizes = {name: path.stat().st_size for name, path in files.items()}
    names = sorted(files)
    chosen = names[:: max(1, -(-len(names) // MAX_FILES))]
    digest = hashlib.sha256(repr([(name, sizes[name]) for name in names]).encode())
    blocks = max(2, MAX_BLOCKS // max(1, len(chosen)))
    for name in chosen:
        last = max(0, sizes[name] - BLOCK_BYTES)
        with files[name].open("rb") as file:
            for start in sorted({last * block // (blocks - 1) for block in range(blocks)}):
                file.seek(start)
                digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()[:16]
