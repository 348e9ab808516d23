"""Download the official archives: `python -m tenet.corruptions.download cifar10c ROOT`.

An interrupted download continues where it stopped, and nothing is unpacked before size and MD5 are
verified. User guide: docs/official-archives.md.
"""

import argparse
import http.client
import io
import re
import shutil
import ssl
import sys
import tarfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tenet.corruptions.published import (
    ARCHIVES,
    BLOCK_BYTES,
    PublishedArchive,
    check_corruptions,
    md5_and_size,
)
from tenet.entry import run_and_report_errors
from tenet.errors import DatasetError, UserError, printable
from tenet.files.atomic import hold, sync
from tenet.printing import open_streams
from tenet.run.progress import ProgressReport

MEGABYTE = 10**6
MAX_MEMBERS = 1000
RETRIED_STATUSES = (408, 425, 429, 500, 502, 503, 504)  # timeouts, rate limits, server failures
TIMEOUT_S = 30.0  # of a silent server
RETRIES, FIRST_WAIT_S = 5, 1.0  # in a row without new bytes; each wait is twice the one before
NETWORK_ERRORS = (URLError, ssl.SSLError, ConnectionError, TimeoutError, http.client.HTTPException)


def fetch(
    archive: PublishedArchive, root: Path, *, url: str | None = None, keep_archive: bool = False
) -> Path:
    """Download, verify and unpack `archive` below `root`; return its folder. A complete folder is left alone.

    url: a copy elsewhere, which must have the published size and MD5.
    Raises DatasetError if the archive can't be downloaded or is not the published one, OSError if the disk fails.
    """
    folder, packed = root / archive.folder_name, root / archive.file_name
    with suppress(DatasetError):
        check_corruptions(folder)  # a file gets its name only once it is complete
        print(f"{folder} is complete: nothing to do (remove the folder to download it again)")
        return folder
    root.mkdir(parents=True, exist_ok=True)
    lock = hold(root / f".{archive.file_name}.lock")
    if lock is None:
        raise DatasetError(f"another process is downloading {packed}; wait until it ends, or end it")
    with lock:
        part = packed if packed.exists() else packed.with_name(f"{packed.name}.part")
        check_space(archive, folder, part)
        if part != packed:
            download(archive, part, url=url or archive.url)
        verify(archive, part, is_download=part != packed)
        part.replace(packed)
        unpack(packed, folder, limit_bytes=archive.size)
        check_corruptions(folder)
        if not keep_archive:
            packed.unlink()
    return folder


def check_space(archive: PublishedArchive, folder: Path, part: Path) -> None:
    """Raise DatasetError unless the rest of the archive and of its files fits on the disk."""
    present = [part, *folder.glob("*")]
    needed = 2 * archive.size - sum(path.stat().st_size for path in present if path.is_file())
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise DatasetError(
            f"{part.parent} has {free / 1e9:.1f} GB free, but {archive.file_name} and its files need "
            f"{needed / 1e9:.1f} GB more; free some space, or choose another ROOT"
        )


def verify(archive: PublishedArchive, file: Path, *, is_download: bool) -> None:
    """Raise DatasetError unless `file` is the published one. A wrong download is removed."""
    print(f"verifying {file}", flush=True)
    md5, size = md5_and_size(file)
    if (size, md5.hexdigest()) == (archive.size, archive.md5):
        return
    remedy = "move it away or remove it"
    if is_download:
        file.unlink()
        remedy = "it was removed: start again, or give another --url"
    raise DatasetError(
        f"{file} is not the published file: it has {size:,} bytes and MD5 {md5.hexdigest()}, not "
        f"{archive.size:,} and {archive.md5}; {remedy}"
    )


def download(archive: PublishedArchive, part: Path, *, url: str) -> None:
    """Append to `part` until it has the archive's size. Raises DatasetError; the part is kept for the next try."""
    part.touch()
    failures, done = 0, part.stat().st_size
    longest = done
    print(f"downloading {archive.size - done:,} of {archive.size:,} bytes from {url}", flush=True)
    total = archive.size // MEGABYTE
    with ProgressReport(archive.file_name, total=total, unit="MB", done=done // MEGABYTE) as progress:
        while done < archive.size:
            reason = attempt(archive, part, url=url, progress=progress)
            done = part.stat().st_size
            failures = 0 if done > longest else failures + 1
            longest = max(longest, done)
            if failures > RETRIES:
                raise DatasetError(
                    f"{url}: {reason}; gave up after {RETRIES} retries. {done:,} of {archive.size:,} "
                    "bytes are kept: the same command continues from there"
                )
            if done < archive.size:
                progress.update(done // MEGABYTE, f"{reason}; trying again", milestone=True)
                time.sleep(FIRST_WAIT_S * 2 ** max(0, failures - 1))


def attempt(archive: PublishedArchive, part: Path, *, url: str, progress: ProgressReport) -> str:
    """Send one request; return why it ended early. Raises DatasetError if another attempt would be useless."""
    try:
        receive(archive, part, url=url, progress=progress)
    except HTTPError as error:
        error.close()
        answer = printable(f"{error.code} {error.reason}")
        if error.code not in RETRIED_STATUSES:
            raise DatasetError(f"{url} answered {answer}; give another --url") from error
        return f"the server answered {answer}"
    except NETWORK_ERRORS as error:
        cause = getattr(error, "reason", error)
        return printable(str(cause) or type(cause).__name__)
    return "the connection was cut"


def receive(archive: PublishedArchive, part: Path, *, url: str, progress: ProgressReport) -> None:
    """Append the answer to one request, from the end of `part`; from the start if the server has no ranges.

    Raises DatasetError if the server's file has another size than the archive.
    """
    start = part.stat().st_size
    headers = {"User-Agent": "tenet-training"} | ({"Range": f"bytes={start}-"} if start else {})
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT_S) as response, part.open("ab") as file:
        sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        size = sent[2] if sent else response.headers.get("Content-Length", "*")
        if size not in ("*", str(archive.size)):
            raise DatasetError(
                f"{url} has {size} bytes, but {archive.file_name} has {archive.size}; give another --url"
            )
        if start and not (sent and int(sent[1]) == start):
            file.truncate(0)
            if response.status == http.HTTPStatus.PARTIAL_CONTENT:
                raise ConnectionError("the server sent another range than requested")
        # read1 returns what has arrived, so that a connection that stalls loses nothing.
        while file.tell() <= archive.size and (block := response.read1(BLOCK_BYTES)):
            file.write(block)
            file.flush()
            progress.update(file.tell() // MEGABYTE, "")


def unpack(packed: Path, folder: Path, *, limit_bytes: int) -> None:
    """Extract the files of a tar into `folder`. A file gets its name only once it is complete.

    Raises DatasetError before anything is written unless all members are plain files or folders below a folder of
    that name, each once, MAX_MEMBERS and `limit_bytes` bytes at most.
    """
    try:
        with LimitedReader(packed) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in safe_files(tar, folder.name, limit_bytes=limit_bytes):
                name = "/".join(PurePosixPath(member.name).parts[1:])
                tar.extract(member.replace(name=f"{name}.tmp"), folder, filter="data")
                sync(folder / f"{name}.tmp")
                (folder / f"{name}.tmp").replace(folder / name)
    except UserError:
        raise
    except (tarfile.TarError, EOFError, ValueError, ArithmeticError, RecursionError) as error:
        raise DatasetError(f"{packed} is not a complete tar ({error}); remove it and start again") from error


class LimitedReader(io.FileIO):
    """Refuses long reads: a damaged header may claim any length, which tarfile would read into memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= BLOCK_BYTES:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return super().read(size)


def safe_files(tar: tarfile.TarFile, folder_name: str, *, limit_bytes: int) -> list[tarfile.TarInfo]:
    """The plain files of `tar`. Raises DatasetError, naming the member, if `unpack` does not allow one."""
    files, unpacked = [], 0
    seen: set[tuple[str, ...]] = set()
    for member in tar:
        parts = PurePosixPath(member.name).parts
        unpacked += abs(member.size)
        reason = None
        if not (member.isreg() or member.isdir()) or member.issparse():
            reason = "is neither a plain file nor a folder"
        elif parts[:1] != (folder_name,) or ".." in parts or "\0" in member.name:
            reason = f"lies outside {folder_name}"
        elif member.isreg() and len(parts) == 1:
            reason = "has the name of the folder"
        elif parts in seen:
            reason = "occurs twice"
        elif member.size < 0 or unpacked > limit_bytes or len(seen) == MAX_MEMBERS:
            reason = f"exceeds {MAX_MEMBERS} members or the {limit_bytes:,} bytes of the published archive"
        if reason:
            raise DatasetError(f"{member.name!r} in the archive {reason}; nothing was unpacked")
        seen.add(parts)
        files += [member] if member.isreg() else []
    return files


def web_address(text: str) -> str:
    """The type of an argument that is a URL: argparse reports the ValueError."""
    if not re.fullmatch(r"https?://[!-.0-9;-~]+(:[1-9]\d*)?(/[!-~]*)?", text):
        raise ValueError(text)
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 after an error, 130 after an interrupt from the keyboard.

    argparse exits with 2 if the arguments are wrong.
    """
    open_streams()
    parser = argparse.ArgumentParser(
        prog="python -m tenet.corruptions.download",
        description="Download, verify and unpack an official archive of corrupted images.",
    )
    parser.add_argument("name", choices=ARCHIVES, help="the archive")
    parser.add_argument("root", metavar="ROOT", type=Path, help="the folder to unpack it in")
    parser.add_argument("--url", type=web_address, help="a copy elsewhere; size and MD5 must be the same")
    parser.add_argument("--keep-archive", action="store_true", help="keep the tar after unpacking")
    asked = parser.parse_args(arguments)

    def work() -> None:
        folder = fetch(ARCHIVES[asked.name], asked.root, url=asked.url, keep_archive=asked.keep_archive)
        from tenet.config.overrides import as_argument  # imports Hydra

        print("Evaluate a run on these files:")
        print(f"  python evaluate.py run=RUN_DIR {as_argument('corruptions.root', folder)}")

    return run_and_report_errors(work)


if __name__ == "__main__":
    sys.exit(main())
