"""The id of a run on W&B's server, and how offline parts get there, with a local fake server."""

import json
import logging
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tenet.run.metrics_file import read_metrics
from tests.tracking.wandb_offline import wandb_files
from tests.tracking.wandb_online import EXPERIMENT, ROWS, log_rows, logged, wandb_with
from tests.tracking.wandb_server import ENTITY, FakeServer, serving


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as server, wandb_with(server.environment):
        yield server


def steps(server: FakeServer, run_id: str) -> list[int]:
    return [row["step"] for row in server.runs[run_id]["history"]]


def rows_in_order(server: FakeServer, run_id: str) -> bool:
    """W&B identifies a row by its `_step`, not by ours: no two rows of a run may share one."""
    numbers = [row["_step"] for row in server.runs[run_id]["history"]]
    return numbers == sorted(set(numbers))


def test_the_id_is_the_experiments_and_a_resumed_run_keeps_it(
    server: FakeServer, tmp_path: Path, caplog: Any
) -> None:
    caplog.set_level(logging.INFO, "tenet")
    log_rows(tmp_path)
    url = f"{server.environment['WANDB_BASE_URL']}/{ENTITY}/tenet/runs/{EXPERIMENT}"
    assert logged(caplog) == [f"W&B run {url}"]
    assert json.loads((tmp_path / "wandb.json").read_text()) == {
        "id": EXPERIMENT, "project": "tenet", "entity": ENTITY, "url": url, "mode": "online",
    }  # fmt: skip
    log_rows(tmp_path, first=ROWS + 1, resume=True)
    assert list(server.runs) == [EXPERIMENT]
    assert steps(server, EXPERIMENT) == [*range(1, 2 * ROWS + 1)]
    assert rows_in_order(server, EXPERIMENT)


@pytest.mark.slow
@pytest.mark.parametrize("was_deleted", [False, True], ids=["taken", "deleted"])
def test_an_id_that_another_run_has_or_had_is_not_reused(
    was_deleted: bool, server: FakeServer, tmp_path: Path
) -> None:
    others = {"history": [{"step": 7}], "project": "tenet"}
    if was_deleted:
        server.deleted.add(EXPERIMENT)
    else:
        server.runs[EXPERIMENT] = others
    log_rows(tmp_path)
    own = json.loads((tmp_path / "wandb.json").read_text())["id"]
    assert own.startswith(f"{EXPERIMENT}-")
    assert steps(server, own) == [*range(1, ROWS + 1)]
    assert others["history"] == [{"step": 7}]


def test_an_agents_run_has_the_agents_id_also_when_repeated(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "agents")
    log_rows(tmp_path / "first")
    log_rows(tmp_path / "second", first=ROWS + 1)
    assert list(server.runs) == ["agents"]
    assert steps(server, "agents") == [*range(1, 2 * ROWS + 1)]


def sync(command: str, server: FakeServer) -> None:
    """Run the upload command that a message named."""
    environment = {**os.environ, **server.environment}
    wandb, *arguments = shlex.split(command)
    assert wandb == "wandb"
    done = subprocess.run(
        [sys.executable, "-m", "wandb", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_offline_parts_and_later_online_parts_form_one_run_in_order(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    caplog.set_level(logging.INFO, "tenet")
    monkeypatch.setenv("WANDB_MODE", "offline")
    log_rows(tmp_path)
    time.sleep(1)  # wandb orders the parts by the second in their names
    (part,) = wandb_files(tmp_path)
    killed_at_once = part.parent.with_name("offline-run-20200101_000000-killed") / part.name
    killed_at_once.parent.mkdir()
    killed_at_once.write_bytes(part.read_bytes()[:7])
    monkeypatch.setenv("WANDB_MODE", "online")
    log_rows(tmp_path, first=ROWS + 1, resume=True)
    first, second = logged(caplog)
    assert second.startswith("W&B is offline (earlier parts of this run are not uploaded yet)")
    command = second.rpartition(": ")[2]
    assert command == first.rpartition(": ")[2]
    assert server.runs == {}
    sync(command, server)
    log_rows(tmp_path, first=2 * ROWS + 1, resume=True)
    (run_id,) = server.runs
    assert server.runs[run_id]["project"] == "tenet"
    assert steps(server, run_id) == [*range(1, 3 * ROWS + 1)]
    assert rows_in_order(server, run_id)


@pytest.mark.slow
def test_the_printed_command_uploads_what_a_failing_server_did_not_take(tmp_path: Path, caplog: Any) -> None:
    with serving(turns="500") as server:
        with wandb_with(server.environment):
            log_rows(tmp_path)
        assert steps(server, EXPERIMENT) == []
        (warning,) = logged(caplog)
        server.behaviour, server.turns = "good", None
        sync(warning.rpartition(": ")[2], server)
        assert steps(server, EXPERIMENT) == [*range(1, ROWS + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["cut", "404"])
def test_a_rejected_upload_loses_no_metric_and_the_documented_command_repeats_it(
    answer: str, tmp_path: Path
) -> None:
    # wandb stops uploading after such an answer and `finish` does not report it: docs/tracking.md.
    with serving(turns=answer) as server:
        with wandb_with(server.environment):
            log_rows(tmp_path)
        assert len(read_metrics(tmp_path / "metrics.jsonl")) == ROWS
        server.behaviour, server.turns = "good", None
        (part,) = (tmp_path / "wandb").glob("run-*")
        sync(f"wandb sync --include-online {part}", server)
        assert steps(server, EXPERIMENT) == [*range(1, ROWS + 1)]
