"""Attacks in several processes, as torchrun starts them: training that resumes exactly, and evaluation."""

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed.launch import ROOT, TINY, torchrun
from tests.distributed.test_evaluation import report
from tests.entry_points import call

pytestmark = pytest.mark.alone
TRADES = [
    *TINY,
    "dataset.fraction=0.05",
    "attack=trades",
    "attack.steps=1",
    "trainer.epochs=1",
    "trainer.evaluate_every_epochs=null",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run, which two processes trained by TRADES."""
    folder = tmp_path_factory.mktemp("attacks")
    train(folder, *TRADES, "hydra.run.dir=run")
    return folder


def train(folder, *arguments):
    done = torchrun(ROOT / "train.py", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr


def test_an_attack_in_eval_mode_sees_the_same_statistics_after_a_resume(folder):
    """Each process moves BatchNorm's statistics by its own images, but a checkpoint has those of the main process."""
    train(folder, *TRADES, "hydra.run.dir=part", "trainer.max_steps=2")
    train(folder, "resume=part", "trainer.max_steps=null")
    whole, part = (load_file(folder / name / "weights.safetensors") for name in ("run", "part"))
    assert all(torch.equal(part[name], value) for name, value in whole.items())


def test_two_processes_report_what_one_process_reports_under_attack(folder):
    words = ["run=run", "corruptions.names=[]", "attacks.names=[pgd]", "attacks.steps=2", "attacks.images=70"]
    words += ["batch_size=16", "attacks.radius=[2/255,8/255]"]
    call("evaluate.py", *words, "output=one.json", cwd=folder)
    done = torchrun(ROOT / "evaluate.py", *words, "output=two.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert report(folder / "two.json") == report(folder / "one.json")
    assert (folder / "two.csv").read_bytes() == (folder / "one.csv").read_bytes()
