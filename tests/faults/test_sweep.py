"""A corruption sweep that is stopped, or whose disk is full, keeps its finished cells."""

import json
from pathlib import Path

import pytest

from tests.faults.commands import assert_told, sweep
from tests.faults.places import Fault


@pytest.mark.slow
def test_an_interrupted_sweep_continues_and_ends_with_the_same_report(whole: Path, tmp_path: Path) -> None:
    alone, broken = tmp_path / "alone", tmp_path / "broken"
    alone.mkdir()
    broken.mkdir()
    assert sweep(whole, cwd=alone).code == 0
    # The clean images are the first set.
    ended = sweep(whole, cwd=broken, fault=Fault("term", "cell", 3))
    assert ended.code == 75, ended.output
    assert ended.output.endswith("stopped by SIGTERM: start the same command again to continue\n")
    ended = sweep(whole, cwd=broken, fault=Fault("forbid", "cell", 2))
    assert "continuing an interrupted evaluation: 2 sets of images are already measured" in ended.output
    assert_told(ended, "contrast-1.npz: File too large")
    assert_told(sweep(whole, cwd=broken, fault=Fault("forbid", "figures")), "report.json: File too large")
    ended = sweep(whole, cwd=broken)
    assert "continuing an interrupted evaluation: 5 sets of images are already measured" in ended.output
    reports = [json.loads((folder / "report.json").read_text()) for folder in (alone, broken)]
    assert reports[0] == reports[1]
    assert sorted(path.name for path in broken.iterdir()) == sorted(path.name for path in alone.iterdir())
