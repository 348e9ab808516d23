"""Numbers of a checkpoint that no run would have written are refused in one line."""

import copy
import math

import pytest
import torch

from tenet.errors import CheckpointError
from tenet.files.weights import CHECKSUM, checksum
from tenet.training.checkpoint import read_checkpoint
from tests.training.runs import run


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint in the middle of an epoch, after its first log."""
    folder = tmp_path_factory.mktemp("saved")
    run(folder, max_steps=5)
    return read_checkpoint(folder / "checkpoint.pt")


@pytest.mark.slow
@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e300, -1, True, "1", None], ids=repr)
def test_a_number_of_steps_is_a_count(saved, tmp_path, bad):
    for name in ("step", "closed_step", "nonfinite_steps"):
        assert_refused({**saved, name: bad}, tmp_path)
    assert_refused({**saved, "counters": dict.fromkeys(saved["counters"], bad)}, tmp_path)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, True, "nan", None, [1.0]], ids=repr)
def test_sums_and_figures_are_finite(saved, tmp_path, bad):
    assert_refused({**saved, "metrics": {**saved["metrics"], "train/loss": bad}}, tmp_path)
    for place in (0, 1):
        means = copy.deepcopy(saved["means"])
        means["loss"][place] = bad
        assert_refused({**saved, "means": means}, tmp_path)


def test_what_contradicts_itself_is_refused(saved, tmp_path):
    assert_refused({**saved, "closed_step": saved["step"] + 1}, tmp_path)
    assert_refused({**saved, "metrics": {**saved["metrics"], "test/error_pct": -1.0}}, tmp_path)
    for count in (-1, 0.5):
        assert_refused({**saved, "means": {**saved["means"], "loss": [1.0, count]}}, tmp_path)


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=repr)
def test_the_numbers_of_the_optimizer_are_finite(saved, tmp_path, bad):
    for name in next(iter(saved["optimizer"]["state"].values())):
        optimizer = copy.deepcopy(saved["optimizer"])
        value = next(iter(optimizer["state"].values()))[name]
        value.view(-1)[0] = bad
        assert_refused({**saved, "optimizer": optimizer}, tmp_path)


def assert_refused(content, folder):
    torch.save({**content, CHECKSUM: checksum(content)}, folder / "checkpoint.pt")
    with pytest.raises(CheckpointError, match=r"checkpoint.pt does not fit this configuration: .+"):
        run(folder)
