from pathlib import Path

import pytest

from tests.faults.commands import train, write_data


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny run, uninterrupted."""
    folder = tmp_path_factory.mktemp("whole")
    write_data(folder)
    ended = train(cwd=folder)
    assert ended.code == 0, ended.output
    return folder / "run"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A working folder with the data of the tiny run."""
    write_data(tmp_path)
    return tmp_path
