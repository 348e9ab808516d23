"""A local fake of W&B's server: the few answers that wandb needs, and failures on demand."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "team"
API_KEY = "f" * 40


class FakeServer(ThreadingHTTPServer):
    """Keeps runs by id. `behaviour` is good, stall (no answer), cut (half an answer) or an HTTP status.

    turns: the behaviour from the first upload of metrics on.
    """

    daemon_threads = True

    def __init__(self, behaviour: str = "good", *, turns: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour, self.turns = behaviour, turns
        self.runs: dict[str, dict[str, Any]] = {}
        self.views: list[dict[str, Any]] = []
        self.deleted: set[str] = set()
        self.released = threading.Event()

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that make wandb use this server."""
        return {"WANDB_BASE_URL": f"http://127.0.0.1:{self.server_port}", "WANDB_API_KEY": API_KEY}

    def handle_error(self, *_: Any) -> None:
        """wandb closes connections at any time; that is not an error."""

    def answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], int]:
        given = request.get("variables") or {}
        name, run_id = request.get("operationName"), given.get("name")
        if name == "RunResumeStatus":
            bucket = self._bucket(run_id) if run_id in self.runs else None
            return {"data": {"model": {"id": "p", "name": "p", **_entity(), "bucket": bucket}}}, 200
        if name == "UpsertBucket" and run_id in self.deleted:
            return {
                "errors": [
                    {"message": f"run {run_id} was previously created and deleted; try a new run name"}
                ]
            }, 409
        if name == "UpsertBucket":
            known = self.runs.setdefault(run_id, {"history": [], "project": given["project"]})
            known.update({key: value for key, value in given.items() if value is not None})
            project = {"id": "p", "name": given["project"], **_entity()}
            bucket = {**self._bucket(run_id), "project": project, "sweepName": None, "description": None}
            return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}, 200
        if name == "CreateRunFiles":
            url = f"{self.environment['WANDB_BASE_URL']}/upload"
            files = [{"name": file, "uploadUrl": url} for file in given["files"]]
            return {
                "data": {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
            }, 200
        if "viewer {" in request["query"]:
            viewer = {
                "id": "u",
                "entity": ENTITY,
                "username": "user",
                "email": "",
                "flags": "{}",
                "teams": {"edges": []},
            }
            return {"data": {"viewer": viewer}}, 200
        if "mutation UpsertView2" in request["query"]:
            self.views.append(given)
            return {
                "data": {"upsertView": {"view": {"id": "v", "name": given["name"]}, "inserted": True}}
            }, 200
        return {"data": {}}, 200

    def take_metrics(self, run_id: str, chunks: dict[str, Any]) -> None:
        if history := chunks.get("wandb-history.jsonl"):
            rows = [json.loads(row) for row in history["content"]]
            self.runs[run_id]["history"][history["offset"] :] = rows
        if summary := chunks.get("wandb-summary.json"):
            self.runs[run_id]["summary"] = json.loads(summary["content"][-1])

    def _bucket(self, run_id: str) -> dict[str, Any]:
        history, summary = self.runs[run_id]["history"], self.runs[run_id].get("summary", {})
        return {
            "id": run_id, "name": run_id, "displayName": run_id, "config": "{}", "summaryMetrics": json.dumps(summary),
            "wandbConfig": '{"t": {}}', "tags": [], "notes": None,
            "logLineCount": 0, "eventsLineCount": 0, "historyLineCount": len(history),
            "eventsTail": "[]", "historyTail": json.dumps([json.dumps(row) for row in history[-1:]]),
        }  # fmt: skip


def _entity() -> dict[str, Any]:
    return {"entity": {"id": "e", "name": ENTITY}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def log_message(self, *_: Any) -> None:
        """Keep requests out of the test's output."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        uploads_metrics = self.path.endswith("/file_stream")
        if uploads_metrics and self.server.turns:
            self.server.behaviour = self.server.turns
        if self.server.behaviour == "stall":
            self.server.released.wait()
            self.close_connection = True
        elif self.server.behaviour == "cut":
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"data')
            self.close_connection = True
        elif self.server.behaviour.isdecimal():
            self.reply({}, int(self.server.behaviour))
        elif uploads_metrics:
            self.server.take_metrics(self.path.split("/")[-2], json.loads(body).get("files", {}))
            self.reply({"limits": {}}, 200)
        else:
            self.reply(*(self.server.answer(json.loads(body)) if self.path == "/graphql" else ({}, 200)))

    do_GET = do_PUT = do_POST  # noqa: N815 (the name is http.server's)

    def reply(self, content: dict[str, Any], status: int) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(behaviour: str = "good", *, turns: str | None = None) -> Iterator[FakeServer]:
    with FakeServer(behaviour, turns=turns) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
