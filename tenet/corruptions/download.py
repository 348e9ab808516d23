"""Download the official archives: `python -m tenet.corruptions.download cifar10c ROOT`.

An interrupted download goes on where it stopped, and nothing is unpacked before size and MD5 are the
published ones. For its users: docs/official-archives.md.
"""

import argparse
import fcntl
import hashlib
import http.client
import re
import shlex
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tenet.corruptions.archive import OfficialArchive
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS
from tenet.errors import DatasetError, UserError
from tenet.progress import ProgressReport

BLOCK_BYTES = 1 << 20
MEGABYTE = 10**6
MAX_MEMBERS = 1000
# Answers that may be better in a while: timeouts, rate limits, a server in trouble.
PASSING_STATUSES = (408, 425, 429, 500, 502, 503, 504)
RANGE_NOT_SATISFIABLE = 416
LONGEST_WAIT_S = 60.0


def check_corruptions(folder: Path) -> None:
    """Raise DatasetError unless `folder` holds all 19 corruptions in the official layout."""
    present = OfficialArchive(folder).names
    if missing := [name for name in CORRUPTIONS + EXTRA_CORRUPTIONS if name not in present]:
        raise DatasetError(f"{folder} lacks {', '.join(missing)}; download it again")


class PublishedArchive(NamedTuple):
    """A tar as its authors publish it; all its members lie in a folder of the same name.

    `size` is in bytes. `check` raises DatasetError where the unpacked folder is not whole.
    """

    url: str
    size: int
    md5: str
    check: Callable[[Path], None] = check_corruptions

    @property
    def file_name(self) -> str:
        return PurePosixPath(urlsplit(self.url).path).name

    @property
    def folder_name(self) -> str:
        return PurePosixPath(self.file_name).stem


# URLs, sizes and checksums as in Zenodo's records 2535967 and 3555552.
ZENODO = "https://zenodo.org/records"
ARCHIVES = {
    "cifar10c": PublishedArchive(
        f"{ZENODO}/2535967/files/CIFAR-10-C.tar?download=1", 2_918_471_680, "56bf5dcef84df0e2308c6dcbcbbd8499"
    ),
    "cifar100c": PublishedArchive(
        f"{ZENODO}/3555552/files/CIFAR-100-C.tar?download=1",
        2_918_473_216,
        "11f0ed0f1191edbf9fa23466ae6021d3",
    ),
}


class Patience(NamedTuple):
    """How long a silent server is waited for, and how often a connection that brings nothing new is tried
    again: after `first_wait_s`, then twice that, and so on."""

    timeout_s: float = 30.0
    retries: int = 5
    first_wait_s: float = 1.0


class ConnectionCutError(Exception):
    """The connection failed in a way that may pass; `wait_s` is what the server asks to wait."""

    def __init__(self, reason: str, *, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


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


def md5_and_size(path: Path) -> tuple[Any, int]:
    """A file's MD5, to go on with, and its length in bytes."""
    md5, size = hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            md5.update(block)
            size += len(block)
    return md5, size


class PartFile:
    """The first bytes of a file, with their running MD5, and the ETag of the answer that they come from."""

    def __init__(self, path: Path) -> None:
        self.path, self.etag_path = path, path.with_name(f"{path.name}.etag")
        self.file = path.open("ab")
        self.md5, self.size = md5_and_size(path)

    def close(self) -> None:
        self.file.close()

    def append(self, block: bytes) -> None:
        self.file.write(block)
        self.file.flush()  # what has arrived outlives the process
        self.md5.update(block)
        self.size += len(block)

    def clear(self) -> None:
        self.file.truncate(0)
        self.etag_path.unlink(missing_ok=True)
        self.md5, self.size = md5_and_size(self.path)

    def remove(self) -> None:
        self.etag_path.unlink(missing_ok=True)
        self.path.unlink()

    def remember_etag(self, url: str, etag: str | None) -> None:
        # A weak ETag (W/"...") does not vouch for bytes.
        if re.fullmatch(r'"[!#-~]*"', etag or ""):
            self.etag_path.write_text(f"{url}\n{etag}")

    def range_headers(self, url: str) -> dict[str, str]:
        """What asks for the rest; the whole file where it changed since (only its own server can tell)."""
        if self.size == 0:
            return {}
        origin, _, etag = self.etag_path.read_text().partition("\n") if self.etag_path.exists() else ("",) * 3
        return {"Range": f"bytes={self.size}-"} | ({"If-Range": etag} if origin == url else {})


def download(archive: PublishedArchive, path: Path, *, url: str, patience: Patience) -> None:
    """Complete the part file at `path`; it is then the published archive. Raises DatasetError: the part is
    kept if the connection failed, removed if its content is wrong."""
    with closing(PartFile(path)) as part:
        if part.size > archive.size:
            part.clear()  # of another file
        verb = f"going on at {part.size:,} of" if part.size else "downloading"
        print(f"{verb} {archive.size:,} bytes from {url}", flush=True)
        failures, longest = 0, part.size
        total, done = archive.size // MEGABYTE, part.size // MEGABYTE
        with ProgressReport(archive.file_name, total=total, unit="MB", done=done) as progress:
            while part.size < archive.size:
                try:
                    receive(archive, part, url=url, timeout_s=patience.timeout_s, progress=progress)
                except ConnectionCutError as error:
                    failures = 1 if part.size > longest else failures + 1
                    longest = max(longest, part.size)
                    if failures > patience.retries:
                        raise DatasetError(
                            f"{url}: {error}; gave up after {patience.retries} retries. {part.size:,} of "
                            f"{archive.size:,} bytes are kept: the same command goes on from there"
                        ) from error
                    wait_s = max(error.wait_s, patience.first_wait_s * 2 ** (failures - 1))
                    status = f"{error}; retry {failures} of {patience.retries} in {wait_s:.0f} s"
                    progress.update(part.size // MEGABYTE, status, milestone=True)
                    time.sleep(wait_s)
        if (part.size, part.md5.hexdigest()) != (archive.size, archive.md5):
            part.remove()
            raise DatasetError(
                f"{url} gave {part.size:,} bytes with MD5 {part.md5.hexdigest()}, but {archive.file_name} has "
                f"{archive.size:,} with {archive.md5}; the download was removed: start again, or use another URL"
            )
        part.etag_path.unlink(missing_ok=True)


def receive(
    archive: PublishedArchive, part: PartFile, *, url: str, timeout_s: float, progress: ProgressReport
) -> None:
    """Append what one request brings, up to one block more than the published size. Raises
    ConnectionCutError where the archive is not complete then, DatasetError where trying again is idle."""
    headers = {"User-Agent": "tenet-training", **part.range_headers(url)}
    with failures_judged(part):
        response = urlopen(Request(url, headers=headers), timeout=timeout_s)
    with response:
        check_start(response, archive, part)
        part.remember_etag(url, response.headers["ETag"])
        started, first = time.monotonic(), part.size
        while part.size <= archive.size:
            with failures_judged(part):
                # read1 hands out what has arrived: of a connection that stalls, nothing is lost.
                block = response.read1(BLOCK_BYTES)
            if not block:
                break
            part.append(block)
            speed = (part.size - first) / MEGABYTE / max(1e-3, time.monotonic() - started)
            progress.update(part.size // MEGABYTE, f"{speed:.1f} MB/s")
    if part.size < archive.size:
        raise ConnectionCutError("the connection was cut")


@contextmanager
def failures_judged(part: PartFile) -> Iterator[None]:
    """Turn what the network raises into ConnectionCutError, or DatasetError where a second try is idle."""
    try:
        yield
    except HTTPError as error:
        with error:
            answer, asked = f"answered {error.code} {error.reason}", error.headers.get("Retry-After", "")
        if error.code == RANGE_NOT_SATISFIABLE:
            part.clear()  # the server's file is shorter: its size, asked for from the start, will tell
        elif error.code not in PASSING_STATUSES:
            raise DatasetError(f"{error.url} {answer}; give another --url") from error
        wait_s = min(float(asked), LONGEST_WAIT_S) if asked.isdecimal() else 0.0
        raise ConnectionCutError(f"the server {answer}", wait_s=wait_s) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionCutError(str(reason) or type(reason).__name__) from error


def check_start(response: http.client.HTTPResponse, archive: PublishedArchive, part: PartFile) -> None:
    """Hold the answer's first byte and total size against what is wanted; an answer that is the whole file
    (the server has no ranges, or the file changed) clears the part."""
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        sent, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    else:
        sent, total = "0-", response.headers.get("Content-Length", "*")
    if total not in ("*", "", str(archive.size)):
        raise DatasetError(
            f"{response.url} has {total} bytes, but {archive.file_name} has {archive.size}; give another --url"
        )
    if sent.partition("-")[0] != str(part.size):
        part.clear()
        if not sent.startswith("0-"):
            raise ConnectionCutError("the server sent another range than the one asked for")


def unpack(packed: Path, folder: Path, *, limit_bytes: int) -> None:
    """Write the files of a tar, all of which must lie in `folder`, each to a temporary name first. Raises
    DatasetError, before anything is written, where `safe_files` refuses a member."""
    # Brings torch, which a wrong command and a long download need not wait for.
    from tenet.checkpoint import write_atomically

    for left_by_a_crash in folder.glob(".*.tmp"):
        left_by_a_crash.unlink()
    try:
        with tarfile.open(packed, "r:") as tar:
            files = safe_files(tar, folder_name=folder.name, limit_bytes=limit_bytes)
            with ProgressReport(folder.name, total=len(files), unit="file") as progress:
                for done, member in enumerate(files, start=1):
                    target = folder.parent / PurePosixPath(member.name)
                    write_atomically(target, partial(_copy_member, tar, member))
                    progress.update(done, target.name)
    except (tarfile.TarError, EOFError) as error:
        raise DatasetError(f"{packed} is not a whole tar ({error}); remove it and start again") from error


def safe_files(tar: tarfile.TarFile, *, folder_name: str, limit_bytes: int) -> list[tarfile.TarInfo]:
    """The regular files of `tar`. Raises DatasetError, naming the member, where one is neither a plain file
    nor a folder, lies outside of `folder_name`, or makes them too many or larger than `limit_bytes` in all."""
    files, unpacked = [], 0
    for count, member in enumerate(tar, start=1):
        parts = PurePosixPath(member.name).parts
        unpacked += abs(member.size)
        refusal = None
        if not (member.isreg() or member.isdir()) or member.issparse():
            refusal = "is a link, a device or another thing that is neither a plain file nor a folder"
        elif not parts or parts[0] != folder_name or ".." in parts or "\0" in member.name:
            refusal = f"lies outside of {folder_name}"
        elif member.size < 0 or unpacked > limit_bytes:
            refusal = f"brings the files to more than the {limit_bytes:,} bytes of the published archive"
        elif count > MAX_MEMBERS:
            refusal = f"is more than {MAX_MEMBERS} members"
        if refusal:
            raise DatasetError(f"{member.name!r} in the archive {refusal}; nothing was unpacked")
        if member.isreg():
            files.append(member)
    return files


def _copy_member(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None, "a regular file has content"
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file, BLOCK_BYTES)


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
