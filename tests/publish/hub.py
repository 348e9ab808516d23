"""A Hugging Face hub on loopback, which takes what is uploaded."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub(ThreadingHTTPServer):
    """created: the requests for new models. files: the content of each committed file. is_open: without login."""

    def __init__(self, *, is_open: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.is_open = is_open
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        answer: dict[str, Any] = {}
        if not self.server.is_open:
            return self.answer({"error": "Invalid username or password."}, status=401)
        if self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            answer = {"url": f"{self.server.address}/user/model"}
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            answer["files"] = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "deletedFile":
                    del self.server.files[line["value"]["path"]]
            answer = {
                "commitUrl": f"{self.server.address}/user/model/commit/{'0' * 40}",
                "commitOid": "0" * 40,
            }
        return self.answer(answer)

    def do_GET(self) -> None:
        if self.server.is_open and "/tree/" in self.path:
            files = self.server.files.items()
            return self.answer([{"type": "file", "path": n, "size": len(c), "oid": "0"} for n, c in files])
        return self.answer({"error": "Invalid username or password."}, status=401)

    def answer(self, content: Any, *, status: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *values: Any) -> None: ...


@contextmanager
def hub(*, is_open: bool = True) -> Iterator[Hub]:
    server = Hub(is_open=is_open)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
