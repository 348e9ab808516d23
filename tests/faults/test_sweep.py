"""A corruption sweep that is stopped, or whose disk fills, keeps the cells it has."""

import json
from pathlib import Path

from tests.faults.commands import assert_told, sweep
from tests.faults.places import Fault


def test_a_broken_sweep_goes_on_where_it_was_and_ends_in_the_same_report(whole: Path, tmp_path: Path) -> None:
    alone, broken = tmp_path / "alone", tmp_path / "broken"
    alone.mkdir()
    broken.mkdir()
    assert sweep(whole, cwd=alone).code == 0
    # The clean images are the first set.
    ended = sweep(whole, cwd=broken, fault=Fault("term", "cell", 3))
    assert ended.code == 75, ended.output
    assert ended.output.endswith("stopped by SIGTERM: start the same command again to go on\n")
    ended = sweep(whole, cwd=broken, fault=Fault("forbid", "cell", 2))
    assert "going on with an interrupted sweep: 2 sets of images are measured already" in ended.output
    assert_told(ended, "contrast-1.npz: File too large")
    assert_told(sweep(whole, cwd=broken, fault=Fault("forbid", "figures")), "report.json: File too large")
    ended = sweep(whole, cwd=broken)
    assert "going on with an interrupted sweep: 5 sets of images are measured already" in ended.output
    reports = [json.loads((folder / "report.json").read_text()) for folder in (alone, broken)]
    assert reports[0] == reports[1]
    assert sorted(path.name for path in broken.iterdir()) == sorted(path.name for path in alone.iterdir())
