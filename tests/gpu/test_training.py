"""Training on a CUDA device: runs that repeat and resume to the bit, and losses watched without waiting."""

import signal

import pytest
import torch

from tenet.errors import NonFiniteLossError
from tests.faults.commands import assert_same_run, train, write_data
from tests.faults.places import Fault
from tests.training.test_loop import FixedLoader, make_model, run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_deterministic_run_that_was_killed_ends_as_if_never_killed(tmp_path, precision):
    settings = ("trainer.device=cuda", "trainer.deterministic=true", f"trainer.precision={precision}")
    for name in ("whole", "hurt"):
        (tmp_path / name).mkdir()
        write_data(tmp_path / name)
    ended = train(*settings, cwd=tmp_path / "whole")
    assert ended.code == 0, ended.output
    for place in ("inhibited", "half checkpoint.pt", "evaluation"):
        ended = train(*settings, cwd=tmp_path / "hurt", fault=Fault("kill", place))
        assert ended.code == -signal.SIGKILL, ended.output
    ended = train(*settings, cwd=tmp_path / "hurt")
    assert ended.code == 0, ended.output
    assert_same_run(tmp_path / "hurt" / "run", tmp_path / "whole" / "run")


def test_a_loss_that_is_not_finite_is_named_by_its_step_though_it_is_seen_later(tmp_path):
    class OnDevice(FixedLoader):
        def epoch(self, epoch, *, start=0):
            for images, labels in super().epoch(epoch, start=start):
                yield images.cuda(), labels.cuda()

    with pytest.raises(NonFiniteLossError, match=r"^step 2: the loss or its gradient is not finite"):
        run(tmp_path, model=make_model().cuda(), loader=OnDevice(bad_step=2))


def test_the_host_waits_for_no_step_inhibited_ones_included(tmp_path):
    class Watched(FixedLoader):
        """Until the last batch, whose step is logged, whatever makes the host wait for the device is an error."""

        def epoch(self, epoch, *, start=0):
            batches = [(images.cuda(), labels.cuda()) for images, labels in super().epoch(epoch, start=start)]
            torch.cuda.set_sync_debug_mode("error" if self.watches else "default")
            try:
                yield from batches[:-1]
            finally:
                torch.cuda.set_sync_debug_mode("default")
            yield batches[-1]

    loader = Watched()
    for loader.watches in (False, True):  # what is loaded and chosen at first use may wait
        _, result = run(
            tmp_path / str(loader.watches),
            model=make_model().cuda(),
            loader=loader,
            epochs=1,
            log_every_steps=100,
        )
        assert result.inhibited_steps > 0
