"""Train many jobs of a multirun in one process, observe it from outside, and fail if memory, open files, threads or the
time per job grow: `python -m tests.load.jobs --jobs 200`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults.commands import write_data
from tests.load.steps import IMAGES, SMALL
from tests.load.watching import at_marks, tell, watch_command

# Each job is one epoch of 20 steps.
JOB = (*SMALL, "trainer.epochs=1", "hydra.sweep.dir=runs")


def finished_jobs(folder: Path) -> int:
    """Count the jobs that have written a summary, which marks the run as finished."""
    return len(list(folder.glob("runs/*/summary.json")))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.jobs", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder, count=IMAGES)
        samples = watch_command(
            "-m", *JOB, f"seed=range({jobs})", cwd=folder, done=lambda: finished_jobs(folder), until=jobs
        )
    return tell(at_marks(samples, until=jobs), unit="job")


if __name__ == "__main__":
    sys.exit(main())
