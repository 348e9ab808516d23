import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.security.commands import TINY, run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder with a partial evaluation. Tests must not change it."""
    folder = tmp_path_factory.mktemp("finished")
    for words in (
        ["train.py", *TINY, "hydra.run.dir=run"],
        ["evaluate.py", "run=run", "corruptions.names=[]"],
    ):
        done = run(*words, cwd=folder)
        assert done.code == 0, done.output
    return folder / "run"


@pytest.fixture
def run_dir(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run that tests may damage."""
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture
def canary(tmp_path: Path) -> Callable[[], bool]:
    """Returns whether the code of a `Payload` ran."""
    return (tmp_path / "canary").exists
