"""Pictures do not depend on the user's settings of matplotlib."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

from tenet.evaluation.plots import draw_heatmap, save_figure
from tenet.files.figures import default_style

PICTURE = """
from pathlib import Path
from tenet.evaluation.plots import draw_heatmap, save_figure
save_figure(draw_heatmap({"fog": {1: 5.0}}, title="a"), Path("a.png"))
"""


@pytest.mark.slow
def test_a_backend_that_is_not_installed_does_not_matter(tmp_path: Path) -> None:
    root = str(Path(__file__).resolve().parents[2])
    backend = "module://matplotlib_inline.backend_inline"
    environment = {**os.environ, "MPLBACKEND": backend, "PYTHONPATH": root}
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    subprocess.run([sys.executable, "-c", PICTURE], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_the_same_under_other_settings_which_stay_as_they_are(tmp_path: Path) -> None:
    settings = {"text.usetex": True, "font.size": 30.0, "savefig.transparent": True}
    content = []
    for changed in ({}, settings):
        with mpl.rc_context(changed):
            path = save_figure(draw_heatmap({"fog": {1: 5.0}}, title="a"), tmp_path / "a.png")
            assert {name: mpl.rcParams[name] for name in changed} == changed
        content.append(path.read_bytes())
    assert content[0] == content[1]


def test_the_environment_keeps_its_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    with default_style():
        assert os.environ["MPLBACKEND"] == "module://matplotlib_inline.backend_inline"
