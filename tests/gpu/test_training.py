"""Training on a CUDA device: runs repeat and resume bit for bit, and the loss is watched without waiting."""

import signal
from dataclasses import replace

import pytest
import torch

from tenet.errors import NonFiniteLossError
from tenet.methods import Draw
from tenet.networks import Network
from tenet.training import loop
from tenet.training.books import NullTracker
from tenet.training.checkpoint import Checkpoints
from tenet.training.schedule import Constant
from tenet.training.settings import TrainingSettings
from tenet.training.state import TrainingState
from tests.faults.commands import assert_same_run, train, write_data
from tests.faults.places import Fault
from tests.training.runs import FixedLoader, inhibited, make_backbone

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


class OnDevice(FixedLoader):
    def epoch(self, epoch, *, start=0):
        for batch in super().epoch(epoch, start=start):
            draw = Draw("cuda", seed=7, step=batch.step)
            yield replace(batch, images=batch.images.cuda(), labels=batch.labels.cuda(), draw=draw)


def train_on_device(folder, loader, **settings):
    """Train through the real loop and return the final state."""
    network = Network(make_backbone(), cut="stage_2").cuda()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    checkpoints = Checkpoints(folder)
    state = TrainingState.restore(network, optimizer, inhibited(), checkpoints=checkpoints)
    loop.train(
        state,
        loader=loader,
        schedule=Constant(),
        settings=TrainingSettings(**{"epochs": 1, "log_every_steps": 4, **settings}),
        evaluate=lambda: {"test/error_pct": 50.0},
        tracker=NullTracker(),
        checkpoints=checkpoints,
        seed=7,
    )
    return state


def test_a_nonfinite_loss_is_reported_with_its_step_although_it_is_seen_later(tmp_path):
    with pytest.raises(NonFiniteLossError, match=r"^step 2: the loss or its gradient is not finite"):
        train_on_device(tmp_path, OnDevice(bad_step=2))


def test_the_host_waits_for_no_step_inhibited_ones_included(tmp_path):
    class Watched(OnDevice):
        """Until the last batch, whose step is logged, waiting for the device is an error."""

        def epoch(self, epoch, *, start=0):
            batches = list(super().epoch(epoch, start=start))
            torch.cuda.set_sync_debug_mode("error" if self.is_watching else "default")
            try:
                yield from batches[:-1]
            finally:
                torch.cuda.set_sync_debug_mode("default")
            yield batches[-1]

    loader = Watched()
    for loader.is_watching in (False, True):  # loading kernels at first use may wait
        state = train_on_device(tmp_path / str(loader.is_watching), loader, log_every_steps=100)
        assert state.method.counters()["inhibited_steps"] > 0
