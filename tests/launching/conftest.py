"""The Hydra program that the tests of multiruns start, and a cluster."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launching.app import APP, CONFIG, ROOT

COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The path of the program, in a folder of its own with its configuration."""
    for group in ("launcher", "hydra/launcher", "hydra/job_logging"):
        shutil.copytree(ROOT / "conf" / group, tmp_path / "conf" / group)
    (tmp_path / "conf" / "app.yaml").write_text(CONFIG)
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "app.py"


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a machine with Slurm, whose records are in the folder $FAKE_SLURM."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "slurm").mkdir()
    for name in COMMANDS:
        script = tmp_path / "bin" / name
        fake = ROOT / "tests" / "launching" / "fake_slurm" / "slurm.py"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {fake} {name} "$@"\n')
        script.chmod(0o755)
    yield {"FAKE_SLURM": str(tmp_path / "slurm"), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    for state in (tmp_path / "slurm").glob("*.state"):  # of a test that failed
        state.write_text("CANCELLED")
