"""The package of docs/extending.md, installed with pip and used from the real commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugin_package import ROOT, environment, install, package_files, write_package


def command(*words: str, cwd: Path, site: Path | None) -> "subprocess.CompletedProcess[str]":
    script, *arguments = words
    python = (
        [sys.executable, str(ROOT / script)] if script.endswith(".py") else [sys.executable, "-m", script]
    )
    variables = environment(site or cwd)
    return subprocess.run(
        [*python, *arguments], cwd=cwd, env=variables, capture_output=True, text=True, timeout=300
    )


@pytest.mark.alone
def test_the_installed_package_trains_in_a_multirun_and_its_suite_evaluates(tmp_path: Path) -> None:
    site, cwd = tmp_path / "site", tmp_path / "work"
    cwd.mkdir()
    install(write_package(tmp_path / "source"), site)

    # In processes of their own: these, too, know the package.
    words = ["experiment=mine", "seed=0,1", "hydra.sweep.subdir=run${seed}", "trainer.epochs=2"]
    trained = command("train.py", "-m", "launcher=parallel", *words, cwd=cwd, site=site)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    run = cwd / "runs" / "run0"
    assert json.loads((run / "environment.json").read_text())["plugins"] == {"mypackage": "0.1"}
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-2])
    assert last["train/inhibited_steps"] > 0

    words = ["run=runs/run0", "corruptions.names=[]"]
    evaluated = command("evaluate.py", *words, "suite=turns", cwd=cwd, site=site)
    assert evaluated.returncode == 0, evaluated.stderr
    report = json.loads((run / "evaluation" / "corruptions-part.json").read_text())
    assert set(report["turns"]) == {"turned/90", "turned/180", "turned/270"}
    assert report["plugins"] == {"mypackage": "0.1"}
    assert f"turned/180 error {report['turns']['turned/180']['error_pct']:.2f} %" in evaluated.stdout

    (cwd / "mypackage").mkdir()  # a folder of its name where the command is started
    (cwd / "mypackage" / "data.py").write_text("open('canary', 'w')\n")
    missing = command("evaluate.py", *words, cwd=cwd, site=None)
    assert missing.returncode == 1
    assert missing.stderr == (
        "error: dataset._target_=mypackage.data.Stripes: must be a class of tenet.data, and no installed plugin "
        "provides mypackage (docs/extending.md)\n"
    )
    assert not (cwd / "canary").exists()


def test_every_part_of_the_page_is_as_short_as_it_promises() -> None:
    files = package_files()
    lines = {name: len(text.strip().splitlines()) for name, text in files.items() if name.endswith(".py")}
    assert len(lines) == 5
    assert max(lines.values()) < 45
    assert sum(lines.values()) < 150
