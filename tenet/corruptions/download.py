"""Download the official archives: `python -m tenet.corruptions.download cifar10c ROOT`.

An interrupted download goes on where it stopped, and nothing is unpacked before size and MD5 are the
published ones. For its users: docs/official-archives.md.
"""

import argparse
import fcntl
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tenet.corruptions.published import ARCHIVES, PublishedArchive
from tenet.corruptions.transfer import Patience, download, md5_and_size
from tenet.corruptions.unpacking import unpack
from tenet.errors import DatasetError, UserError


def fetch(
    archive: PublishedArchive,
    root: Path,
    *,
    url: str | None = None,
    keep_archive: bool = False,
    patience: Patience = Patience(),  # noqa: B008 (immutable)
) -> Path:
    """Download, verify and unpack `archive` below `root`; return its folder. A whole folder is left as it is.

    `url` is a copy elsewhere, held to the same size and MD5. Raises DatasetError when the archive can't be
    had or is not the published one, OSError when the disk fails.
    """
    folder, packed = root / archive.folder_name, root / archive.file_name
    if is_whole(archive, folder):
        print(f"{folder} is complete: nothing to do (remove the folder to download it again)")
        return folder
    root.mkdir(parents=True, exist_ok=True)
    with exclusive(root / f".{archive.file_name}.lock"):
        part = packed if packed.exists() else packed.with_name(f"{packed.name}.part")
        check_space(archive, folder, part)
        if part == packed:
            check_archive(archive, packed)
        else:
            download(archive, part, url=url or archive.url, patience=patience)
            part.replace(packed)
        unpack(packed, folder, limit_bytes=archive.size)
        archive.check(folder)
        if not keep_archive:
            packed.unlink()
    return folder


def is_whole(archive: PublishedArchive, folder: Path) -> bool:
    # Files get their names only when whole, so that having them all is enough.
    try:
        archive.check(folder)
    except DatasetError:
        return False
    return True


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel releases however the process ends. Raises DatasetError if another has it.

    The file stays: removing it would let a third process lock a new file beside a waiting second one.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(
                f"another process is at work on {path.parent / path.stem[1:]}; let it finish, or end it first"
            ) from None
        yield


def check_space(archive: PublishedArchive, folder: Path, part: Path) -> None:
    """Raise DatasetError unless the rest of the archive and of its files fits on the disk."""
    unpacked = sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
    # A tar's files are never larger than the tar.
    rest = max(0, archive.size - (part.stat().st_size if part.exists() else 0))
    needed = rest + max(0, archive.size - unpacked)
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise DatasetError(
            f"{part.parent} has {free / 1e9:.1f} GB free, but {archive.file_name} and its files need "
            f"{needed / 1e9:.1f} GB more; free some space, or choose another ROOT"
        )


def check_archive(archive: PublishedArchive, packed: Path) -> None:
    """Raise DatasetError unless `packed`, which may come from anywhere, is the published file."""
    print(f"{packed} is there; checking it", flush=True)
    md5, size = md5_and_size(packed)
    if (size, md5.hexdigest()) != (archive.size, archive.md5):
        raise DatasetError(
            f"{packed} is not the published file: it has {size:,} bytes and MD5 {md5.hexdigest()}, not "
            f"{archive.size:,} and {archive.md5}; move it away or remove it"
        )


def web_address(text: str) -> str:
    # A ValueError, which urlsplit and `port` raise too, argparse tells as a wrong argument.
    address = urlsplit(text)
    if not re.fullmatch("https?://[!-~]+", text) or not address.hostname or address.port == 0:
        raise ValueError(text)
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 for what went wrong, 130 when interrupted by keyboard;
    argparse exits with 2 for wrong arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m tenet.corruptions.download",
        description="Download, verify and unpack an official archive of corrupted images.",
    )
    parser.add_argument("name", choices=ARCHIVES, help="the archive")
    parser.add_argument("root", metavar="ROOT", type=Path, help="the folder to unpack it in")
    parser.add_argument("--url", type=web_address, help="a copy elsewhere; size and MD5 must be the same")
    parser.add_argument("--keep-archive", action="store_true", help="keep the tar beside its files")
    asked = parser.parse_args(arguments)
    try:
        archive = ARCHIVES[asked.name]
        folder = fetch(archive, asked.root, url=asked.url, keep_archive=asked.keep_archive)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print("Measure a run on these files:")
    print(f"  python evaluate.py run=RUN_DIR {shlex.quote(f'corruptions.root={folder}')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
