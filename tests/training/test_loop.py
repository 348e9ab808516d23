"""The loop on tiny networks: what it does at each iteration, and that a resumed run equals an uninterrupted one."""

import copy
import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tenet.errors import CheckpointError, ConfigError, NonFiniteLossError
from tenet.methods import CrossEntropy
from tenet.networks import ResNet, WideResNet
from tenet.run.metrics_file import read_metrics
from tenet.run.signals import Preempted, StopSignals
from tenet.training.checkpoint import Checkpoints
from tenet.training.schedule import Constant, Cosine, Schedule, Span
from tenet.training.settings import TrainingSettings
from tests.training.runs import FixedLoader, assert_same_weights, make_backbone, run, train_by_hand


def timeless(lines):
    return [{key: value for key, value in line.items() if not key.startswith("speed/")} for line in lines]


def test_the_loop_is_the_nine_steps(tmp_path):
    state = run(tmp_path)
    twin, inhibited_steps = train_by_hand()
    assert_same_weights(state.network.backbone, twin)
    assert state.step == 18
    assert state.method.counters()["inhibited_steps"] == inhibited_steps > 3


def test_without_inhibition_training_is_plain(tmp_path):
    run(tmp_path, method=CrossEntropy())
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert "train/loss" in lines[0]
    assert not any("inhibited" in name for line in lines for name in line)


def test_an_inhibited_step_without_a_right_sample_is_skipped_and_counted(tmp_path):
    class AlwaysWrong(FixedLoader):
        def epoch(self, epoch, *, start=0):
            for batch in super().epoch(epoch, start=start):
                with torch.no_grad():
                    wrong = (copy.deepcopy(backbone)((batch.images - 0.5) / 0.5).argmax(1) + 1) % 3
                yield dataclasses.replace(batch, labels=wrong)

    backbone = make_backbone()
    state = run(tmp_path, backbone=backbone, loader=AlwaysWrong())
    assert state.method.counters() == {"inhibited_steps": 0, "skipped_steps": 8}  # the even ones from 4 to 18
    assert read_metrics(tmp_path / "metrics.jsonl")[-2]["train/skipped_steps"] == 8


@pytest.mark.parametrize("stop", [1, 4, 6, 11, 17])
def test_a_stopped_run_goes_on_exactly_where_it_was(tmp_path, stop):
    whole = run(tmp_path / "whole")
    assert run(tmp_path / "parts", max_steps=stop).step == stop
    torch.manual_seed(99)
    resumed = run(tmp_path / "parts", backbone=ResNet(num_classes=3, depth=8, width=4))
    assert resumed.resumed_at == stop
    assert_same_weights(whole.network, resumed.network)
    saved, again = (Checkpoints(tmp_path / name).load() for name in ("whole", "parts"))
    for (name, one), other in zip(
        saved["optimizer"]["state"].items(), again["optimizer"]["state"].values(), strict=True
    ):
        assert torch.equal(one["momentum_buffer"], other["momentum_buffer"]), name
    assert whole.method.counters() == resumed.method.counters()
    # The metrics are those of the whole run, and nothing but the stop's own lines is added.
    lines = [timeless(read_metrics(tmp_path / name / "metrics.jsonl")) for name in ("whole", "parts")]
    assert all(line in lines[1] for line in lines[0])
    assert all(line["step"] == stop for line in lines[1] if line not in lines[0])


def test_a_stopped_run_with_dropout_goes_on_exactly_where_it_was(tmp_path):
    def backbone(seed):
        torch.manual_seed(seed)
        return WideResNet(3, depth=10, widen_factor=1, dropout=0.5)

    whole = run(tmp_path / "whole", backbone=backbone(0), epochs=1)
    run(tmp_path / "parts", backbone=backbone(0), epochs=1, max_steps=4)
    resumed = run(tmp_path / "parts", backbone=backbone(99), epochs=1)
    assert_same_weights(whole.network, resumed.network)


class SignallingLoader(FixedLoader):
    """Sends this process a signal with the batch of a step, counted from 1."""

    def __init__(self, *, at_step):
        super().__init__()
        self.at_step = at_step

    def epoch(self, epoch, *, start=0):
        for batch in super().epoch(epoch, start=start):
            if batch.step == self.at_step:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


@pytest.mark.slow
@pytest.mark.parametrize("at_step", [3, 6, 10])
def test_a_signal_at_the_last_step_leaves_its_evaluation_to_who_goes_on(tmp_path, at_step):
    whole = run(tmp_path / "whole", max_steps=10)
    with StopSignals() as stop, pytest.raises(Preempted):
        run(tmp_path / "parts", loader=SignallingLoader(at_step=at_step), stop=stop, max_steps=10)
    assert Checkpoints(tmp_path / "parts").load()["step"] == at_step
    resumed = run(tmp_path / "parts", max_steps=10)
    assert_same_weights(whole.network, resumed.network)
    lines = [timeless(read_metrics(tmp_path / name / "metrics.jsonl")) for name in ("whole", "parts")]
    assert lines[0] == lines[1]


def test_the_lines_a_checkpoint_counts_on_are_on_the_disk_before_it(tmp_path, monkeypatch):
    events = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda file: (events.append(Path(f"/proc/self/fd/{file}").readlink().name), sync(file))
    )
    monkeypatch.setattr(
        Path, "replace", lambda path, target: (events.append(f"to {target.name}"), rename(path, target))
    )
    run(tmp_path, epochs=1)
    temporary = f".checkpoint.pt.{os.getpid()}.tmp"
    assert events == ["metrics.jsonl", temporary, "to checkpoint.pt", tmp_path.name]


def test_evaluating_more_or_less_often_changes_no_weight(tmp_path):
    often = run(tmp_path / "often", evaluate_every_epochs=1)
    seldom = run(tmp_path / "seldom", evaluate_every_epochs=3, log_every_steps=1)
    assert_same_weights(often.network, seldom.network)
    evaluated = [
        line["step"]
        for line in read_metrics(tmp_path / "often" / "metrics.jsonl")
        if "test/error_pct" in line
    ]
    assert evaluated == [6, 12, 18]


def test_metrics_are_the_means_over_the_window(tmp_path):
    run(tmp_path, method=CrossEntropy(), lr=1e-12, schedule=Constant(), log_every_steps=3, epochs=1)
    model = make_backbone().train()
    losses, wrong = [], 0
    for batch in FixedLoader().epoch(0):
        logits = model((batch.images - 0.5) / 0.5)
        losses.append(F.cross_entropy(logits, batch.labels).item())
        wrong += (logits.argmax(1) != batch.labels).sum().item()
    first, second, _ = read_metrics(tmp_path / "metrics.jsonl")
    assert (first["step"], second["step"]) == (3, 6)
    assert [first["train/loss"], second["train/loss"]] == pytest.approx(
        [sum(losses[:3]) / 3, sum(losses[3:]) / 3], rel=1e-6
    )
    assert (first["train/error_pct"] + second["train/error_pct"]) / 2 == pytest.approx(100 * wrong / 48)
    assert (first["epoch"], second["epoch"]) == (0.5, 1.0)


def test_the_schedule_counts_iterations_and_the_inhibited_step_shares_the_rate(tmp_path):
    rates = []

    class Recorder(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    backbone = make_backbone()
    optimizer = Recorder(backbone.parameters(), lr=0.1)
    state = run(tmp_path, backbone=backbone, optimizer=optimizer, epochs=1)
    assert len(rates) == 6 + state.method.counters()["inhibited_steps"]
    assert rates[0] == 0.1
    assert sorted(set(rates), reverse=True) == pytest.approx(
        [0.1 * Cosine()(step, Span(6, 6)) for step in range(6)]
    )


@pytest.mark.parametrize("bad_step", [1, 8])
def test_a_non_finite_loss_stops_the_run_and_names_step_rate_and_checkpoint(tmp_path, bad_step):
    with pytest.raises(NonFiniteLossError) as caught:
        run(tmp_path, loader=FixedLoader(bad_step=bad_step), log_every_steps=100)
    message = str(caught.value)
    assert message.startswith(f"step {bad_step}: ")
    assert f"learning rate {0.05 * Cosine()(bad_step - 1, Span(18, 6)):.3g}" in message
    good = Checkpoints(tmp_path).newest()
    assert (str(good) if bad_step == 8 else "none yet") in message
    if bad_step == 8:
        saved = Checkpoints(tmp_path).load()
        assert saved["step"] == 6
        assert all(torch.isfinite(value).all() for value in saved["model"].values())


class JumpAfterThreeSteps(Schedule):
    def __call__(self, step, span):
        return 1e-38 if step < 3 else 1.0


def test_weights_that_blow_up_before_the_loss_does_are_named_the_same(tmp_path):
    with pytest.raises(NonFiniteLossError, match=r"step 4: .*NaN or infinity"):
        run(tmp_path, lr=1e38, schedule=JumpAfterThreeSteps())


def test_bf16_and_channels_last_train(tmp_path):
    state = run(tmp_path, precision="bf16", channels_last=True, epochs=1)
    assert state.method.counters()["inhibited_steps"] > 0
    assert all(torch.isfinite(value).all() for value in state.network.state_dict().values())


def test_bits_are_not_promised_of_compiled_networks():
    with pytest.raises(
        ConfigError, match=r"trainer\.compile=true .* leave out trainer\.compile or trainer\.deterministic"
    ):
        TrainingSettings(compile=True, deterministic=True)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    run(tmp_path, epochs=1)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt does not fit"):
        run(tmp_path, backbone=ResNet(num_classes=3, depth=8, width=8))


def test_a_checkpoint_holds_plain_values_and_tensors_only(tmp_path):
    run(tmp_path, epochs=1)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["step"] == 6
    json.dumps({name: saved[name] for name in ("step", "means", "counters", "metrics")})
