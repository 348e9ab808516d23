"""Numbers that are not finite, and batches at the edge: no weight is spoilt, and the end of a run says why it came."""

import json

import pytest
import torch
from torch import nn

from tenet.device import set_determinism
from tenet.errors import NonFiniteLossError, NonFiniteOutputError
from tenet.files.weights import checksum
from tenet.inhibition import Inhibition
from tenet.networks import ResNet
from tenet.run.metrics_file import read_metrics
from tenet.training.checkpoint import Checkpoints
from tenet.training.loop import find_min_batch_size
from tenet.training.state import Window
from tests.faults.commands import assert_told, write_data
from tests.faults.commands import train as train_command
from tests.training.test_loop import (
    STEPS_PER_EPOCH,
    FixedLoader,
    assert_same_weights,
    make_model,
    run,
    train_by_hand,
)


class BadLoader(FixedLoader):
    """A NaN in the batches of some steps, counted from 1."""

    def __init__(self, *bad_steps):
        super().__init__()
        self.bad_steps = bad_steps

    def epoch(self, epoch, *, start=0):
        first = epoch * STEPS_PER_EPOCH + start + 1
        for step, (images, labels) in enumerate(super().epoch(epoch, start=start), start=first):
            if step in self.bad_steps:
                images[0] = torch.nan
            yield images, labels


class InfiniteAt(Inhibition):
    """An inhibited step that has no finite loss, at its first call."""

    def step(self, *args, **kwargs):
        taken = super().step(*args, **kwargs)
        if not hasattr(self, "called"):
            object.__setattr__(self, "called", True)
            return taken._replace(loss=taken.loss * torch.inf)
        return taken


@pytest.mark.parametrize("bad_steps", [(5,), (4, 6, 13)])
def test_a_skipped_step_is_as_if_it_had_not_been(tmp_path, bad_steps):
    model, result = run(tmp_path, loader=BadLoader(*bad_steps), on_nonfinite="skip")
    twin, inhibited = train_by_hand(without=bad_steps)
    assert_same_weights(model, twin)
    assert result.inhibited_steps == inhibited
    assert read_metrics(tmp_path / "metrics.jsonl")[-2]["train/nonfinite_steps"] == len(bad_steps)


def test_a_skipped_inhibited_step_leaves_the_plain_one_before_it(tmp_path):
    settings = {"layer": "stage_2", "groups": 3, "interval": 2, "start_step": 3}
    model, result = run(tmp_path, inhibition=InfiniteAt(**settings), on_nonfinite="skip")
    twin, inhibited = train_by_hand(without_inhibited=(4,))
    assert_same_weights(model, twin)
    assert result.inhibited_steps == inhibited


@pytest.mark.parametrize("stop", [4, 5, 6])
def test_a_run_that_skipped_goes_on_exactly_and_keeps_count(tmp_path, stop):
    loader, settings = BadLoader(5, 9), {"on_nonfinite": "skip", "max_nonfinite_steps": 2}
    whole, _ = run(tmp_path / "whole", loader=loader, **settings)
    run(tmp_path / "parts", loader=loader, max_steps=stop, **settings)
    resumed, _ = run(
        tmp_path / "parts", loader=loader, model=ResNet(num_classes=3, depth=8, width=4), **settings
    )
    assert_same_weights(whole, resumed)
    assert Checkpoints(tmp_path / "parts").load()["nonfinite_steps"] == 2


def test_beyond_the_bound_the_run_ends_with_all_that_helps_to_see_why(tmp_path):
    loader = BadLoader(2, 5, 8)
    with pytest.raises(
        NonFiniteLossError, match=r"step 8: the loss is nan; 2 such steps were skipped before"
    ) as caught:
        run(tmp_path, loader=loader, on_nonfinite="skip", max_nonfinite_steps=2)
    assert f"Last good checkpoint: {tmp_path / 'checkpoint.pt'}" in str(caught.value)
    assert f"More in {tmp_path / 'nonfinite.json'}" in str(caught.value)
    found = json.loads((tmp_path / "nonfinite.json").read_text())
    assert (found["step"], found["found_at_step"]) == (8, 8)
    assert found["weights_not_finite"] == []
    assert "stages.stem.0.weight" in found["gradients_not_finite"]
    assert found["last_metrics"]["train/loss"] > 0
    assert found["last_metrics"]["learning_rate"] > 0


def test_a_finite_loss_with_a_gradient_that_is_not_stops_before_it_is_followed(tmp_path):
    class Steep(nn.Module):
        """The root's slope at 0 is infinite, its value is not."""

        def forward(self, features):
            return features + (0 * features).abs().sqrt()

    model = make_model()
    model.head.append(Steep())
    before = [one.detach().clone() for one in model.parameters()]
    with pytest.raises(NonFiniteLossError, match=r"step 1: the loss is \d.* and its gradient is not finite"):
        run(tmp_path, model=model)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), before, strict=True))
    assert json.loads((tmp_path / "nonfinite.json").read_text())["gradients_not_finite"]


def test_weights_that_explode_in_the_last_step_before_a_checkpoint_do_not_enter_it(tmp_path):
    class Exploding(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == STEPS_PER_EPOCH:
                self.param_groups[0]["params"][0].data[0] = torch.inf

    model = make_model()
    optimizer = Exploding(model.parameters(), lr=0.05)
    with pytest.raises(
        NonFiniteLossError, match=r"step 6: after a finite loss, stages\.stem.*weight is not finite"
    ):
        run(tmp_path, model=model, optimizer=optimizer, inhibition=None, checkpoint_every_steps=4)
    saved = Checkpoints(tmp_path).load()
    assert saved["step"] == 4
    assert all(value.isfinite().all() for value in saved["model"].values())


def test_weights_that_are_finite_and_of_no_use_end_the_run_at_its_evaluation(tmp_path):
    def evaluate():
        raise NonFiniteOutputError("the model's outputs are not finite")

    with pytest.raises(
        NonFiniteLossError, match=r"step 6: after a finite loss, the model's outputs.*at learning rate"
    ):
        run(tmp_path, evaluate=evaluate)
    assert Checkpoints(tmp_path).newest() is None
    assert (tmp_path / "nonfinite.json").exists()


def test_where_the_host_does_not_watch_every_step_the_window_remembers_the_first_bad_one():
    window, fine = Window(torch.device("cpu")), torch.tensor(1.0)
    for step, loss in enumerate([fine, fine * torch.nan, fine, fine * torch.inf], start=1):
        window.add_plain(loss, torch.tensor([True]), gradient_norm=fine, step=step)
    assert window.read()[1] == 2


def test_an_overflow_in_bf16_stops_the_run(tmp_path):
    model = make_model()
    with torch.no_grad():
        model.head[-1].weight.fill_(3e38)
    with pytest.raises(NonFiniteLossError, match=r"with trainer\.precision=bf16, also fp32"):
        run(tmp_path, model=model, precision="bf16")


class OddLoader(FixedLoader):
    """What `change(images, labels)` makes of the batches."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def epoch(self, epoch, *, start=0):
        for images, labels in super().epoch(epoch, start=start):
            yield self.change(images, labels)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda images, labels: (images, torch.zeros_like(labels)), id="one class"),
        pytest.param(lambda images, labels: (images[:1], labels[:1]), id="one sample"),
        pytest.param(lambda images, labels: (torch.ones_like(images), labels), id="constant images"),
        pytest.param(
            lambda images, labels: (torch.zeros_like(images), 0 * labels), id="black images of one class"
        ),
        pytest.param(lambda images, labels: (images * 1e6, labels), id="large numbers"),
    ],
)
@pytest.mark.parametrize("groups", [1, 8])  # 8: a group for each channel
def test_odd_batches_train_to_finite_weights(tmp_path, change, groups):
    inhibition = Inhibition(layer="stage_2", groups=groups, interval=1, start_step=1)
    model, result = run(tmp_path, inhibition=inhibition, loader=OddLoader(change), epochs=2)
    assert result.inhibited_steps > 0
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_dead_channels_stay_dead_and_spoil_nothing(tmp_path):
    model = make_model()
    with torch.no_grad():
        for module in model.stages.stage_2.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight[:4] = module.bias[:4] = 0
    _, result = run(tmp_path, model=model)
    assert result.inhibited_steps > 0
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_maps_of_one_pixel_need_two_samples():
    with torch.device("meta"):
        outline = ResNet(num_classes=3, depth=8, width=4)
    assert find_min_batch_size(outline, (3, 8, 8)) == 1
    assert find_min_batch_size(outline, (3, 4, 4)) == 2


def test_on_maps_of_one_pixel_an_inhibited_step_of_one_right_sample_is_skipped_and_counted(tmp_path):
    model = make_model()

    def keep_one_right(images, labels):
        images = images[:, :, :4, :4]
        was_training = model.training
        state = {name: value.clone() for name, value in model.state_dict().items()}
        predicted = model(images).argmax(1)
        model.load_state_dict(state)
        model.train(was_training)
        wrong = (predicted + 1) % 3
        wrong[0] = predicted[0]
        return images, wrong

    _, result = run(tmp_path, model=model, loader=OddLoader(keep_one_right), min_batch_size=2)
    assert (result.inhibited_steps, result.skipped_steps) == (0, 8)


def test_a_batch_that_batch_normalisation_can_not_take_is_refused_before_any_step(tmp_path):
    write_data(tmp_path, size=4)
    ended = train_command("trainer.batch_size=13", cwd=tmp_path)
    assert_told(ended, "trainer.batch_size=13: of an epoch of 40 images it leaves a batch of one")


@pytest.mark.parametrize("is_deterministic", [True, False])
def test_determinism_is_set_both_ways_and_changes_nothing_on_a_cpu(tmp_path, monkeypatch, is_deterministic):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    torch.use_deterministic_algorithms(not is_deterministic)
    try:
        set_determinism(is_deterministic)
        assert torch.are_deterministic_algorithms_enabled() == is_deterministic
        model, _ = run(tmp_path, epochs=1)
    finally:
        torch.use_deterministic_algorithms(False)
    twin, _ = run(tmp_path / "twin", epochs=1)
    assert checksum(model.state_dict()) == checksum(twin.state_dict())
