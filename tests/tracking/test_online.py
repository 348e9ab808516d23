"""Under which id a run stands on W&B's server, and how offline parts get there: with a stand-in server."""

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

from tests.tracking.wandb_offline import wandb_files
from tests.tracking.wandb_online import EXPERIMENT, ROWS, log_rows, told, wandb_with
from tests.tracking.wandb_server import ENTITY, StandInServer, serving


@pytest.fixture
def server() -> Iterator[StandInServer]:
    with serving() as server, wandb_with(server.environment):
        yield server


def steps(server: StandInServer, run_id: str) -> list[int]:
    return [row["step"] for row in server.runs[run_id]["history"]]


def rows_in_order(server: StandInServer, run_id: str) -> bool:
    """W&B takes rows by their `_step`, whatever ours are: no two of a run may have the same."""
    numbers = [row["_step"] for row in server.runs[run_id]["history"]]
    return numbers == sorted(set(numbers))


def test_the_id_is_the_experiments_and_a_resumed_run_goes_on_under_it(
    server: StandInServer, tmp_path: Path, caplog: Any
) -> None:
    caplog.set_level(logging.INFO, "tenet")
    log_rows(tmp_path)
    url = f"{server.environment['WANDB_BASE_URL']}/{ENTITY}/tenet/runs/{EXPERIMENT}"
    assert told(caplog) == [f"W&B run {url}"]
    assert json.loads((tmp_path / "wandb.json").read_text()) == {
        "id": EXPERIMENT, "project": "tenet", "entity": ENTITY, "url": url, "mode": "online",
    }  # fmt: skip
    log_rows(tmp_path, first=ROWS + 1, resume=True)
    assert list(server.runs) == [EXPERIMENT]
    assert steps(server, EXPERIMENT) == [*range(1, 2 * ROWS + 1)]
    assert rows_in_order(server, EXPERIMENT)


@pytest.mark.parametrize("was_deleted", [False, True], ids=["taken", "deleted"])
def test_an_id_that_another_run_has_or_had_is_left_alone(
    was_deleted: bool, server: StandInServer, tmp_path: Path
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


def test_an_agents_run_has_the_agents_id_also_the_second_time(
    server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "agents")
    log_rows(tmp_path / "first")
    log_rows(tmp_path / "second", first=ROWS + 1)
    assert list(server.runs) == ["agents"]
    assert steps(server, "agents") == [*range(1, 2 * ROWS + 1)]


def sync(command: str, server: StandInServer) -> None:
    """Run what a message said would upload a run."""
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


def test_offline_parts_and_the_online_ones_after_them_are_one_run_in_their_order(
    server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    caplog.set_level(logging.INFO, "tenet")
    monkeypatch.setenv("WANDB_MODE", "offline")
    log_rows(tmp_path)
    time.sleep(1)  # wandb tells the order of the parts by the second
    (part,) = wandb_files(tmp_path)
    killed_at_once = part.parent.with_name("offline-run-20200101_000000-killed") / part.name
    killed_at_once.parent.mkdir()
    killed_at_once.write_bytes(part.read_bytes()[:7])
    monkeypatch.setenv("WANDB_MODE", "online")
    log_rows(tmp_path, first=ROWS + 1, resume=True)
    first, second = told(caplog)
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


def test_the_command_that_is_printed_uploads_what_a_bad_server_did_not_take(
    tmp_path: Path, caplog: Any
) -> None:
    with serving(turns="cut") as server:
        with wandb_with(server.environment):
            log_rows(tmp_path)
        assert steps(server, EXPERIMENT) == []
        (warning,) = told(caplog)
        server.behaviour, server.turns = "good", None
        sync(warning.rpartition(": ")[2], server)
        assert steps(server, EXPERIMENT) == [*range(1, ROWS + 1)]
