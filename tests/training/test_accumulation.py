"""Updates that are computed in parts are those of the whole batch, in float64 and without BatchNorm."""

import pytest
import torch
from torch import nn

from tenet.methods import CrossEntropy, Free, Inhibited, Jsd
from tenet.networks import Network
from tenet.training.accumulation import split_batch
from tests.entry_points import TINY
from tests.entry_points import train as train_command
from tests.training.runs import run
from tests.training.smooth import CHANNELS, SmoothLoader, make_network


def train(folder, method, *, parts):
    network = make_network()
    loader = SmoothLoader(views=method.views)
    state = run(folder, network=network, method=method, loader=loader, accumulate=parts, lr=0.3)
    return network.state_dict(), state


@pytest.mark.slow
@pytest.mark.parametrize(
    "make_objective",
    [lambda: CrossEntropy(label_smoothing=0.1), Jsd, lambda: Free(method=Jsd(), radius=0.1, step_size=0.06)],
    ids=["cross_entropy", "jsd", "free"],
)
@pytest.mark.parametrize("inhibits", [False, True], ids=["plain", "inhibited"])
def test_updates_in_parts_are_those_of_the_whole_batch(tmp_path, make_objective, inhibits):
    def method():
        # Each channel is its own group: the grouping does not depend on the random medoids, which are others in parts.
        settings = {"layer": "1", "groups": CHANNELS, "interval": 2, "start_step": 3, "weight": 0.5}
        return Inhibited(method=make_objective(), **settings) if inhibits else make_objective()

    whole, one = train(tmp_path / "whole", method(), parts=1)
    parted, other = train(tmp_path / "parts", method(), parts=3)
    # Masks and the orthogonality loss are in float32 at any precision.
    tolerance = 1e-7 if inhibits else 1e-12
    for name, value in whole.items():
        torch.testing.assert_close(parted[name], value, rtol=tolerance, atol=tolerance)
    assert one.method.counters() == other.method.counters()
    del one.metrics["speed/images_per_s"], other.metrics["speed/images_per_s"]
    assert one.metrics == pytest.approx(other.metrics)
    if inhibits:
        assert one.method.inhibited_steps > 4


def test_a_step_in_parts_without_a_right_sample_is_skipped_and_counted(tmp_path):
    class NeverRight(CrossEntropy):
        def updates(self, network, batch):
            for update in super().updates(network, batch):
                update.correct = torch.zeros_like(update.correct)
                yield update

    plain = train(tmp_path / "plain", CrossEntropy(), parts=3)[0]
    method = Inhibited(method=NeverRight(), layer="1", groups=2, interval=2, start_step=3)
    weights, state = train(tmp_path / "inhibited", method, parts=3)
    assert state.method.counters() == {"inhibited_steps": 0, "skipped_steps": 8}
    for name, value in plain.items():
        assert torch.equal(weights[name], value)


def test_a_refused_step_in_parts_changes_nothing(tmp_path):
    class Spoiled(SmoothLoader):
        def epoch(self, epoch, *, start=0):
            for batch in super().epoch(epoch, start=start):
                if batch.step == 4:
                    batch.images[-1] = torch.nan
                yield batch

    torch.manual_seed(1)
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(108, 3))).double()
    state = run(
        tmp_path, network=network, method=CrossEntropy(), loader=Spoiled(), accumulate=2, on_nonfinite="skip"
    )
    assert state.nonfinite_steps == 1
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_parts_hold_all_views_of_their_samples_and_enough_samples_for_batch_norm():
    (batch,) = [*SmoothLoader(views=3).epoch(0)][:1]
    network = Network(nn.Flatten(), min_batch_size=2)
    parts = split_batch(batch, 5, network=network)
    assert [len(part.labels) for part in parts] == [3, 2, 2, 2]
    images = torch.cat([part.images.unflatten(0, (3, -1)) for part in parts], dim=1).flatten(0, 1)
    assert torch.equal(images, batch.images)
    assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)
    first, second = (torch.rand(3, generator=part.draw("medoids")) for part in parts[:2])
    assert not torch.equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize(("overrides", "message"), [
    ({"trainer.processes": 2}, "trainer.processes=2, but 1 started"),
    ({"trainer.sync_batchnorm": "true"}, "CUDA devices alone"),
    ({"trainer.processes": "some"}, "1,000,000,000 or any, or null"),
])  # fmt: skip
def test_settings_of_several_processes_that_can_not_hold_are_refused(overrides, message, tmp_path):
    words = [f"{key}={value}" for key, value in overrides.items()]
    assert message in train_command(*TINY, *words, cwd=tmp_path, code=2 if "some" in words[0] else 1).output
