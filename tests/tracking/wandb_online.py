"""Short runs against a stand-in of W&B's server."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tenet.tracking import WandbTracking

EXPERIMENT = "1f0c5a2b3d"
INIT_TIMEOUT_S, FINISH_TIMEOUT_S = 1.0, 1.0
ROWS = 300


@contextmanager
def wandb_with(environment: dict[str, str]) -> Iterator[None]:
    """wandb as it is in a new process with these variables."""
    import wandb

    wandb.teardown()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"WANDB_MODE": "online", **environment}.items():
            patch.setenv(name, value)
        yield
        wandb.teardown()


def log_rows(run_dir: Path, *, first: int = 1, resume: bool = False) -> tuple[float, float]:
    """A run of ROWS rows; the seconds that logging them took, and those of the run's end."""
    tracking = WandbTracking(init_timeout_s=INIT_TIMEOUT_S, finish_timeout_s=FINISH_TIMEOUT_S)
    with tracking.start(run_dir, config={"seed": 3}, run_id=EXPERIMENT, resume=resume) as tracker:
        start = time.monotonic()
        for step in range(first, first + ROWS):
            tracker.log({"train/loss": 1 / step}, step=step)
        tracker.summarize({"test/error_pct": 3.5})
        end = time.monotonic()
    return end - start, time.monotonic() - end


def told(caplog: Any) -> list[str]:
    """What tenet logged; wandb logs too."""
    return [record.getMessage() for record in caplog.records if record.name == "tenet"]
