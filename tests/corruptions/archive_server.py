"""Archives like the official ones, and a local server of archives that misbehaves on demand."""

import hashlib
import io
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from tenet.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from tenet.corruptions.published import PublishedArchive

FOLDER, FILE = "TINY-C", "TINY-C.tar"
NAMES = CORRUPTIONS + EXTRA_CORRUPTIONS


def tar_of(*files: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def published(body: bytes, url: str = f"http://localhost/{FILE}") -> PublishedArchive:
    return PublishedArchive(url, len(body), hashlib.md5(body).hexdigest())


def assert_unpacked(root: Path, body: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        expected = {Path(member.name).name: tar.extractfile(member).read() for member in tar}
    assert {path.name: path.read_bytes() for path in (root / FOLDER).iterdir()} == expected


class Server(ThreadingHTTPServer):
    """Serves `body` and records the requests and the number of bytes sent.

    cuts: after how many bytes the next answers end. stalls: whether a cut connection stays open.
    statuses: errors to answer first. headers: more headers of a partial answer.
    """

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.has_ranges, self.names_length = body, True, True
        self.cuts: list[int] = []
        self.stalls, self.released = False, threading.Event()
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.requests: list[str | None] = []
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files/{FILE}?download=1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.requests.append(asked)
        if server.statuses:
            return self.answer(server.statuses.pop(0), b"")
        if not (asked and server.has_ranges):
            return self.answer(200, server.body)
        start, total = int(asked.removeprefix("bytes=").removesuffix("-")), len(server.body)
        if start >= total:
            return self.answer(416, b"")
        content_range = {"Content-Range": f"bytes {start}-{total - 1}/{total}", **server.headers}
        return self.answer(206, server.body[start:], **content_range)

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        server = self.server
        self.send_response(status)
        if server.names_length:
            self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        is_cut = bool(server.cuts)
        content = content[: server.cuts.pop(0)] if is_cut else content
        server.sent += len(content)  # before sending: the client may finish first
        if is_cut and server.stalls:
            # The last bytes are sent separately, fewer than any buffer holds.
            self.wfile.write(content[:-10])
            time.sleep(0.05)
            self.wfile.write(content[-10:])
            server.released.wait(20)
        else:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...
