"""Short runs against a local fake of W&B's server."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tenet.tracking import WandbTracking

EXPERIMENT = "1f0c5a2b3d"
INIT_TIMEOUT_S, FINISH_TIMEOUT_S = 1.0, 1.0
ROWS = 300


@contextmanager
def wandb_with(environment: dict[str, str]) -> Iterator[None]:
    """wandb as in a new process with these environment variables."""
    import wandb

    wandb.teardown()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"WANDB_MODE": "online", **environment}.items():
            patch.setenv(name, value)
        yield
        wandb.teardown()


def log_rows(run_dir: Path, *, first: int = 1, resume: bool = False) -> tuple[float, float]:
    """Log ROWS rows; returns how long logging and the end of the run took, in seconds."""
    tracking = WandbTracking(init_timeout_s=INIT_TIMEOUT_S, finish_timeout_s=FINISH_TIMEOUT_S)
    with tracking.start(run_dir, config={"seed": 3}, run_id=EXPERIMENT, resume=resume) as tracker:
        start = time.monotonic()
        for step in range(first, first + ROWS):
            tracker.log({"train/loss": 1 / step}, step=step)
        tracker.summarize({"test/error_pct": 3.5})
        end = time.monotonic()
    return end - start, time.monotonic() - end


def logged(caplog: Any) -> list[str]:
    """The messages that tenet logged, without wandb's."""
    return [record.getMessage() for record in caplog.records if record.name == "tenet"]


def wandb_process_ids(parent: int) -> list[int]:
    """The wandb-core processes that `parent` started."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process may have ended
            # 4711 (wandb-core) S 4700 ...: id, name, state, parent
            name, _, rest = file.read_text().partition("(")[2].rpartition(")")
            if name == "wandb-core" and int(rest.split()[1]) == parent:
                found.append(int(file.parent.name))
    return found
