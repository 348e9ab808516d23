"""A download that goes on where it stopped, and is not taken before its size and MD5 are the published ones."""

import hashlib
import http.client
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tenet.corruptions.published import PublishedArchive
from tenet.errors import DatasetError, printable
from tenet.run.progress import ProgressReport

BLOCK_BYTES = 1 << 20
MEGABYTE = 10**6
# Answers that may be better in a while: timeouts, rate limits, a server in trouble.
PASSING_STATUSES = (408, 425, 429, 500, 502, 503, 504)
RANGE_NOT_SATISFIABLE = 416
LONGEST_WAIT_S = 60.0


class Patience(NamedTuple):
    """How long a silent server is waited for, and how often a connection that brings nothing new is tried
    again: after `first_wait_s`, then twice that, and so on."""

    timeout_s: float = 30.0
    retries: int = 5
    first_wait_s: float = 1.0


class ConnectionCutError(Exception):
    """The connection failed in a way that may pass; `wait_s` is what the server asks to wait."""

    def __init__(self, reason: str, *, wait_s: float = 0.0) -> None:
        super().__init__(printable(reason))  # a server chose these words
        self.wait_s = wait_s


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
            raise DatasetError(f"{error.url} {printable(answer)}; give another --url") from error
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
