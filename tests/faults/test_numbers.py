"""Non-finite numbers and unusual batches: weights stay finite, and a run that stops gives the reason."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from tenet.device import set_determinism
from tenet.errors import NonFiniteLossError, NonFiniteOutputError
from tenet.methods import Batch, CrossEntropy, Draw, Method, Update
from tenet.networks import ResNet
from tenet.run.metrics_file import read_metrics
from tenet.training.checkpoint import Checkpoints
from tenet.training.means import RunningMeans
from tests.faults.commands import assert_told, write_data
from tests.faults.commands import train as train_command
from tests.training.runs import (
    STEPS_PER_EPOCH,
    FixedLoader,
    assert_same_weights,
    inhibited,
    make_backbone,
    run,
    train_by_hand,
)


class BadLoader(FixedLoader):
    """A loader that puts a NaN into the batches of some steps, counted from 1."""

    def __init__(self, *bad_steps):
        super().__init__()
        self.bad_steps = bad_steps

    def epoch(self, epoch, *, start=0):
        for batch in super().epoch(epoch, start=start):
            if batch.step in self.bad_steps:
                batch.images[0] = torch.nan
            yield batch


class InfiniteOnce(Method):
    """A method whose first inhibited update has no finite loss."""

    def __init__(self, inhibited):
        self.inhibited, self.is_done = inhibited, False

    def updates(self, network, batch):
        for update in self.inhibited.updates(network, batch):
            if update.name == "inhibited loss" and not self.is_done:
                self.is_done = True
                update.loss = update.loss * torch.inf
            yield update

    def counters(self):
        return self.inhibited.counters()


def test_a_skipped_step_changes_nothing(tmp_path):
    bad_steps = (4, 6, 13)
    state = run(tmp_path, loader=BadLoader(*bad_steps), on_nonfinite="skip")
    twin, inhibited_steps = train_by_hand(without=bad_steps)
    assert_same_weights(state.network.backbone, twin)
    assert state.method.counters()["inhibited_steps"] == inhibited_steps
    assert read_metrics(tmp_path / "metrics.jsonl")[-2]["train/nonfinite_steps"] == len(bad_steps)


def test_a_skipped_inhibited_step_keeps_the_plain_step_before_it(tmp_path):
    state = run(tmp_path, method=InfiniteOnce(inhibited()), on_nonfinite="skip")
    twin, inhibited_steps = train_by_hand(without_inhibited=(4,))
    assert_same_weights(state.network.backbone, twin)
    assert state.method.counters()["inhibited_steps"] == inhibited_steps


@pytest.mark.slow
def test_a_run_that_skipped_steps_resumes_exactly_and_keeps_the_count(tmp_path):
    loader, settings = BadLoader(5, 9), {"on_nonfinite": "skip", "max_nonfinite_steps": 2}
    whole = run(tmp_path / "whole", loader=loader, **settings)
    run(tmp_path / "parts", loader=loader, max_steps=5, **settings)
    other = ResNet(num_classes=3, depth=8, width=4)
    resumed = run(tmp_path / "parts", loader=loader, backbone=other, **settings)
    assert_same_weights(whole.network, resumed.network)
    assert Checkpoints(tmp_path / "parts").load()["nonfinite_steps"] == 2


def test_too_many_nonfinite_steps_end_the_run_with_a_diagnosis(tmp_path):
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


def test_a_nonfinite_gradient_of_a_finite_loss_stops_the_run_before_the_update(tmp_path):
    class Steep(nn.Module):
        """The square root at 0: its slope is infinite, its value is finite."""

        def forward(self, features):
            return features + (0 * features).abs().sqrt()

    model = make_backbone()
    model.head.append(Steep())
    before = [one.detach().clone() for one in model.parameters()]
    with pytest.raises(NonFiniteLossError, match=r"step 1: the loss is \d.* and its gradient is not finite"):
        run(tmp_path, backbone=model)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), before, strict=True))
    assert json.loads((tmp_path / "nonfinite.json").read_text())["gradients_not_finite"]


def test_weights_that_explode_just_before_a_checkpoint_are_not_saved(tmp_path):
    class Exploding(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == STEPS_PER_EPOCH:
                self.param_groups[0]["params"][0].data[0] = torch.inf

    model = make_backbone()
    optimizer = Exploding(model.parameters(), lr=0.05)
    with pytest.raises(
        NonFiniteLossError, match=r"step 6: after a finite loss, stages\.stem.*weight is not finite"
    ):
        run(tmp_path, backbone=model, optimizer=optimizer, method=CrossEntropy(), checkpoint_every_steps=4)
    saved = Checkpoints(tmp_path).load()
    assert saved["step"] == 4
    assert all(value.isfinite().all() for value in saved["model"].values())


def test_finite_weights_with_nonfinite_outputs_end_the_run_at_its_evaluation(tmp_path):
    def evaluate():
        raise NonFiniteOutputError("the model's outputs are not finite")

    with pytest.raises(
        NonFiniteLossError, match=r"step 6: after a finite loss, the model's outputs.*at learning rate"
    ):
        run(tmp_path, evaluate=evaluate)
    assert Checkpoints(tmp_path).newest() is None
    assert (tmp_path / "nonfinite.json").exists()


def test_the_means_record_the_first_nonfinite_step_for_a_host_that_checks_later():
    means, fine = RunningMeans(torch.device("cpu")), torch.tensor(1.0)
    for step, loss in enumerate([fine, fine * torch.nan, fine, fine * torch.inf], start=1):
        batch = Batch(images=fine, labels=fine, step=step, draw=Draw("cpu", seed=0, step=step))
        means.add(Update(loss=loss, batch=batch, samples=1, gradient_norm=fine))
    assert means.read()[1] == 2


def test_an_overflow_in_bf16_stops_the_run(tmp_path):
    model = make_backbone()
    with torch.no_grad():
        model.head[-1].weight.fill_(3e38)
    with pytest.raises(NonFiniteLossError, match=r"with trainer\.precision=bf16, also fp32"):
        run(tmp_path, backbone=model, precision="bf16")


class OddLoader(FixedLoader):
    """A loader that applies `change(images, labels)` to every batch."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def epoch(self, epoch, *, start=0):
        for batch in super().epoch(epoch, start=start):
            images, labels = self.change(batch.images, batch.labels)
            yield dataclasses.replace(batch, images=images, labels=labels)


@pytest.mark.slow
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
def test_odd_batches_train_to_finite_weights(tmp_path, change):
    method = inhibited(groups=8, interval=1, start_step=1)  # a group for each channel
    state = run(tmp_path, method=method, loader=OddLoader(change), epochs=2)
    assert state.method.counters()["inhibited_steps"] > 0
    assert all(value.isfinite().all() for value in state.network.state_dict().values())


def test_dead_channels_do_no_harm(tmp_path):
    model = make_backbone()
    with torch.no_grad():
        for module in model.stages.stage_2.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight[:4] = module.bias[:4] = 0
    state = run(tmp_path, backbone=model)
    assert state.method.counters()["inhibited_steps"] > 0
    assert all(value.isfinite().all() for value in state.network.state_dict().values())


def test_an_inhibited_step_of_one_correct_sample_on_one_pixel_maps_is_skipped_and_counted(tmp_path):
    model = make_backbone()

    def keep_one_right(images, labels):
        images = images[:, :, :4, :4]
        was_training = model.training
        state = {name: value.clone() for name, value in model.state_dict().items()}
        predicted = model((images - 0.5) / 0.5).argmax(1)
        model.load_state_dict(state)
        model.train(was_training)
        wrong = (predicted + 1) % 3
        wrong[0] = predicted[0]
        return images, wrong

    state = run(tmp_path, backbone=model, loader=OddLoader(keep_one_right), min_batch_size=2)
    assert state.method.counters() == {"inhibited_steps": 0, "skipped_steps": 8}


def test_a_batch_too_small_for_batch_normalisation_is_refused_before_any_step(tmp_path):
    write_data(tmp_path, size=4)
    ended = train_command("trainer.batch_size=13", cwd=tmp_path)
    assert_told(
        ended,
        "trainer.batch_size=13: the last batch of an epoch of 40 images leaves a process with one image",
    )


@pytest.mark.slow
@pytest.mark.parametrize("is_deterministic", [True, False])
def test_determinism_can_be_set_and_unset_and_changes_nothing_on_a_cpu(
    tmp_path, monkeypatch, is_deterministic
):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    torch.use_deterministic_algorithms(not is_deterministic)
    try:
        set_determinism(is_deterministic)
        assert torch.are_deterministic_algorithms_enabled() == is_deterministic
        state = run(tmp_path, epochs=1)
    finally:
        torch.use_deterministic_algorithms(False)
    twin = run(tmp_path / "twin", epochs=1)
    assert_same_weights(state.network, twin.network)
