"""The Hydra program that the tests of multiruns start."""

import shutil
from pathlib import Path

import pytest

from tests.launching.app import APP, CONFIG, ROOT


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The path of the program, in a folder of its own with its configuration."""
    for group in ("launcher", "hydra/launcher", "hydra/job_logging"):
        shutil.copytree(ROOT / "conf" / group, tmp_path / "conf" / group)
    (tmp_path / "conf" / "app.yaml").write_text(CONFIG)
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "app.py"
