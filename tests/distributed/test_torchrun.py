"""Runs of several processes that torchrun starts: one folder, restarts, and refusals by all."""

import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tenet.run.metrics_file import read_metrics
from tests.distributed import member
from tests.distributed.launch import ROOT, TINY, torchrun
from tests.entry_points import call


@pytest.mark.alone
def test_a_team_shares_one_folder_and_goes_on_exactly(tmp_path):
    # The noise of attack=free differs from process to process.
    arguments = [
        *TINY,
        "ema.decay=0.9",
        "schedule=onecycle",
        "trainer.clip_norm=1.0",
        "attack=free",
        "attack.replays=2",
    ]
    whole = torchrun(ROOT / "train.py", *arguments, "hydra.run.dir=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    told = [line for line in whole.stdout.splitlines() if "test error" in line]
    assert len(told) >= 3, "two epochs and the end"
    assert len(set(told)) == len(told), "by one process"
    assert "in 2 processes" in whole.stdout
    lines = read_metrics(tmp_path / "whole" / "metrics.jsonl")
    assert [line["step"] for line in lines if "train/loss" in line] == [3, 6, 9, 12, 15, 18]

    part = torchrun(ROOT / "train.py", *arguments, "hydra.run.dir=part", "trainer.max_steps=10", cwd=tmp_path)
    assert part.returncode == 0, part.stderr
    # The number of processes is part of what a run is.
    assert yaml.safe_load((tmp_path / "part" / "config.yaml").read_text())["trainer"]["processes"] == 2
    alone = call("train.py", "resume=part", "trainer.max_steps=null", cwd=tmp_path, fails=True)
    assert "trainer.processes=2, but 1 started" in alone.stderr
    shutil.copytree(tmp_path / "part", tmp_path / "alone")
    alone = call("train.py", "resume=alone", "trainer.max_steps=12", "trainer.processes=any", cwd=tmp_path)
    assert "of 2 processes, and 1 continue it" in alone.stdout
    shutil.rmtree(tmp_path / "alone")
    resumed = torchrun(ROOT / "train.py", "resume=part", "trainer.max_steps=null", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "part"}
    for file in ("weights.safetensors", "weights-ema.safetensors"):
        ours, theirs = (load_file(tmp_path / name / file) for name in ("part", "whole"))
        assert all(torch.equal(ours[name], value) for name, value in theirs.items()), file


@pytest.mark.alone
def test_a_team_asks_for_a_batch_that_it_can_share_and_for_one_run_at_a_time(tmp_path):
    small = torchrun(ROOT / "train.py", *TINY, "trainer.batch_size=1", cwd=tmp_path)
    assert small.returncode != 0
    assert "trainer.batch_size=1 is shared by 2 processes" in small.stderr
    done = torchrun(ROOT / "train.py", "-m", "seed=0,1", cwd=tmp_path)
    assert done.returncode != 0
    assert "torchrun is for one run" in done.stderr


@pytest.mark.alone
@pytest.mark.parametrize(("rank", "number"), [(0, signal.SIGKILL), (1, signal.SIGKILL), (1, signal.SIGTERM)])
def test_a_team_of_which_one_process_was_ended_continues_by_itself(tmp_path, rank, number):
    """torchrun restarts both processes; each finds the other, and not the address of one that has ended."""
    ends = f"""
import os, runpy, sys
from tests.faults.places import ACTIONS, Fault
if os.environ["RANK"] == "{rank}" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    ACTIONS["end"] = lambda: os.kill(os.getpid(), {int(number)})
    Fault("end", "descent", 11).set_up()
sys.argv = [r"{ROOT / "train.py"}", *sys.argv[1:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    (tmp_path / "ends.py").write_text(ends)
    done = torchrun(tmp_path / "ends.py", *TINY, "hydra.run.dir=run", cwd=tmp_path, restarts=3)
    assert done.returncode == 0, done.stderr
    assert "continuing run" in done.stdout
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: another process of this run has ended") == (number == signal.SIGKILL)
    assert "Unable to shutdown process" not in done.stderr, (
        "torchrun waits half a minute before it kills a process"
    )


@pytest.mark.alone
def test_features_that_are_not_finite_in_one_process_are_refused_by_all(tmp_path):
    for skips, code in (("skip", 0), ("stop", 1)):
        folder = tmp_path / skips
        folder.mkdir()
        done = torchrun(Path(member.__file__), folder, skips, cwd=folder)
        assert (done.returncode == 0) == (code == 0), done.stderr
        if code:
            told = "step 4: the inhibited loss (features contain NaN or infinity) is nan"
            assert done.stderr.count(told) >= 1
            continue
        saved = [torch.load(folder / f"member-{rank}.pt", weights_only=True) for rank in range(2)]
        assert [one["inhibited_steps"] for one in saved] == [3, 3], "steps 2, 6 and 8; not 4"
        assert [one["nonfinite_steps"] for one in saved] == [1, 1]
