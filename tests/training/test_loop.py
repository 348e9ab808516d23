"""The loop on tiny networks: what it does at each iteration, and that it goes on exactly where it was."""

import copy
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tenet.errors import CheckpointError, ConfigError, NonFiniteLossError
from tenet.inhibition import Inhibition
from tenet.networks import ResNet
from tenet.randomness import make_generator
from tenet.run.metrics_file import read_metrics
from tenet.run.signals import Preempted, StopSignals
from tenet.tracking import Tracker
from tenet.training.checkpoint import Checkpoints
from tenet.training.loop import train
from tenet.training.schedule import Constant, Cosine
from tenet.training.settings import TrainingSettings

ROOT = Path(__file__).resolve().parents[2]
STEPS_PER_EPOCH = 6
INHIBITION = Inhibition(layer="stage_2", groups=3, interval=2, start_step=3)


class FixedLoader:
    """Six batches an epoch, made from (epoch, step)."""

    steps_per_epoch = STEPS_PER_EPOCH

    def __init__(self, *, bad_step=None, batch_size=8):
        self.bad_step, self.batch_size = bad_step, batch_size

    def epoch(self, epoch, *, start=0):
        for index in range(start, STEPS_PER_EPOCH):
            generator = make_generator("cpu", seed=0, purpose="test", step=epoch * STEPS_PER_EPOCH + index)
            labels = torch.randint(3, (self.batch_size,), generator=generator)
            images = torch.randn(self.batch_size, 3, 8, 8, generator=generator) + labels[:, None, None, None]
            if epoch * STEPS_PER_EPOCH + index + 1 == self.bad_step:
                images[0] = torch.nan
            yield images, labels


def make_model():
    torch.manual_seed(0)
    return ResNet(num_classes=3, depth=8, width=4)


def run(
    folder,
    *,
    model=None,
    inhibition=INHIBITION,
    loader=None,
    lr=0.05,
    schedule=None,
    optimizer=None,
    evaluate=lambda: {"test/error_pct": 50.0},
    min_batch_size=1,
    stop=None,
    **settings,
):
    model = model or make_model()
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True)
    with Tracker(folder) as tracker:
        result = train(
            model,
            loader=loader or FixedLoader(),
            inhibition=inhibition,
            optimizer=optimizer,
            schedule=schedule or Cosine(),
            settings=TrainingSettings(**{"epochs": 3, "log_every_steps": 4, **settings}),
            evaluate=evaluate,
            min_batch_size=min_batch_size,
            stop=stop,
            tracker=tracker,
            checkpoints=Checkpoints(folder),
            seed=7,
        )
    return model, result


def assert_same_weights(model, other):
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def timeless(lines):
    return [{key: value for key, value in line.items() if not key.startswith("speed/")} for line in lines]


def train_by_hand(*, without=(), without_inhibited=()):
    """The nine steps, plainly, but for some iterations, and for the inhibited steps of some; the model and the
    number of inhibited steps."""
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    iteration, inhibited = 0, 0
    for epoch in range(3):
        for images, labels in FixedLoader().epoch(epoch):
            iteration += 1
            if iteration in without:
                continue
            optimizer.param_groups[0]["lr"] = 0.05 * Cosine()(iteration - 1, 18)
            model.train()
            logits = model(images)
            optimizer.zero_grad()
            F.cross_entropy(logits, labels).backward()
            optimizer.step()
            right = logits.argmax(1) == labels
            is_due = iteration >= 3 and iteration % 2 == 0 and iteration not in without_inhibited
            if is_due and right.any():
                generator = make_generator("cpu", seed=7, purpose="medoids", step=iteration)
                loss = INHIBITION.step(model, images[right], labels[right], generator=generator).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                inhibited += 1
    return model, inhibited


def test_the_loop_is_the_nine_steps(tmp_path):
    model, result = run(tmp_path)
    twin, inhibited = train_by_hand()
    assert_same_weights(model, twin)
    assert (result.steps, result.total_steps) == (18, 18)
    assert result.inhibited_steps == inhibited > 3


def test_without_inhibition_training_is_plain(tmp_path):
    _, result = run(tmp_path, inhibition=None)
    assert (result.inhibited_steps, result.skipped_steps) == (0, 0)
    assert not any("train/loss_inhibited" in line for line in read_metrics(tmp_path / "metrics.jsonl"))


def test_an_inhibited_step_without_a_right_sample_is_skipped_and_counted(tmp_path):
    class AlwaysWrong(FixedLoader):
        def epoch(self, epoch, *, start=0):
            for images, _ in super().epoch(epoch, start=start):
                with torch.no_grad():
                    wrong = (copy.deepcopy(model)(images).argmax(1) + 1) % 3
                yield images, wrong

    model = make_model()
    _, result = run(tmp_path, model=model, loader=AlwaysWrong())
    assert result.inhibited_steps == 0
    assert result.skipped_steps == 8  # the even iterations from 4 to 18
    assert read_metrics(tmp_path / "metrics.jsonl")[-2]["train/skipped_steps"] == 8


@pytest.mark.parametrize("stop", [1, 4, 6, 11, 17])
def test_a_stopped_run_goes_on_exactly_where_it_was(tmp_path, stop):
    whole, result = run(tmp_path / "whole")
    _, part = run(tmp_path / "parts", max_steps=stop)
    assert (part.steps, part.total_steps) == (stop, 18)
    torch.manual_seed(99)
    resumed, resumed_result = run(tmp_path / "parts", model=ResNet(num_classes=3, depth=8, width=4))
    assert_same_weights(whole, resumed)
    saved, again = (Checkpoints(tmp_path / name).load() for name in ("whole", "parts"))
    for (name, one), other in zip(
        saved["optimizer"]["state"].items(), again["optimizer"]["state"].values(), strict=True
    ):
        assert torch.equal(one["momentum_buffer"], other["momentum_buffer"]), name
    assert result.inhibited_steps == resumed_result.inhibited_steps
    # The metrics are those of the whole run, and nothing but the stop's own lines is added.
    lines = [timeless(read_metrics(tmp_path / name / "metrics.jsonl")) for name in ("whole", "parts")]
    assert all(line in lines[1] for line in lines[0])
    assert all(line["step"] == stop for line in lines[1] if line not in lines[0])


class SignallingLoader(FixedLoader):
    """Sends this process a signal with the batch of a step, counted from 1."""

    def __init__(self, *, at_step):
        super().__init__()
        self.at_step = at_step

    def epoch(self, epoch, *, start=0):
        first = epoch * STEPS_PER_EPOCH + start + 1
        for step, batch in enumerate(super().epoch(epoch, start=start), start=first):
            if step == self.at_step:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


@pytest.mark.parametrize("at_step", [3, 6, 10])
def test_a_signal_at_the_last_step_leaves_its_evaluation_to_who_goes_on(tmp_path, at_step):
    whole, _ = run(tmp_path / "whole", max_steps=10)
    with StopSignals() as stop, pytest.raises(Preempted):
        run(tmp_path / "parts", loader=SignallingLoader(at_step=at_step), stop=stop, max_steps=10)
    assert Checkpoints(tmp_path / "parts").load()["step"] == at_step
    resumed, _ = run(tmp_path / "parts", max_steps=10)
    assert_same_weights(whole, resumed)
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
    often, _ = run(tmp_path / "often", evaluate_every_epochs=1)
    seldom, _ = run(tmp_path / "seldom", evaluate_every_epochs=3, log_every_steps=1)
    assert_same_weights(often, seldom)
    evaluated = [
        line["step"]
        for line in read_metrics(tmp_path / "often" / "metrics.jsonl")
        if "test/error_pct" in line
    ]
    assert evaluated == [6, 12, 18]


def test_metrics_are_the_means_over_the_window(tmp_path):
    run(tmp_path, inhibition=None, lr=1e-12, schedule=Constant(), log_every_steps=3, epochs=1)
    model = make_model().train()
    losses, wrong = [], 0
    for images, labels in FixedLoader().epoch(0):
        logits = model(images)
        losses.append(F.cross_entropy(logits, labels).item())
        wrong += (logits.argmax(1) != labels).sum().item()
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

    model = make_model()
    optimizer = Recorder(model.parameters(), lr=0.1)
    _, result = run(tmp_path, model=model, optimizer=optimizer, epochs=1)
    assert len(rates) == 6 + result.inhibited_steps
    assert rates[0] == 0.1
    assert sorted(set(rates), reverse=True) == pytest.approx([0.1 * Cosine()(step, 6) for step in range(6)])


@pytest.mark.parametrize("bad_step", [1, 8])
def test_a_non_finite_loss_stops_the_run_and_names_step_rate_and_checkpoint(tmp_path, bad_step):
    with pytest.raises(NonFiniteLossError) as caught:
        run(tmp_path, loader=FixedLoader(bad_step=bad_step), log_every_steps=100)
    message = str(caught.value)
    assert message.startswith(f"step {bad_step}: ")
    assert f"learning rate {0.05 * Cosine()(bad_step - 1, 18):.3g}" in message
    good = Checkpoints(tmp_path).newest()
    assert (str(good) if bad_step == 8 else "none yet") in message
    if bad_step == 8:
        saved = Checkpoints(tmp_path).load()
        assert saved["step"] == 6
        assert all(torch.isfinite(value).all() for value in saved["model"].values())


def test_weights_that_blow_up_before_the_loss_does_are_named_the_same(tmp_path):
    with pytest.raises(NonFiniteLossError, match=r"step 4: .*NaN or infinity"):
        run(tmp_path, lr=1e38, schedule=lambda step, total: 1e-38 if step < 3 else 1.0)


def test_bf16_and_channels_last_train(tmp_path):
    model = make_model().to(memory_format=torch.channels_last)
    _, result = run(tmp_path, model=model, precision="bf16", channels_last=True, epochs=1)
    assert result.inhibited_steps > 0
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


COMPILED = """
import sys
from pathlib import Path

import torch
from tenet.training.loop import compile_stages, prepare
from tenet.training.settings import TrainingSettings
from tests.training.test_loop import make_model, run

model, compiled = make_model(), make_model()
assert prepare(compiled, TrainingSettings(compile=True)) is compiled
assert all(stage._compiled_call_impl is not None for stage in (*compiled.stages, compiled.head))
compile_stages(compiled, batch_size=8, backend="aot_eager")  # the graphs of the real one, without its minute of compiling
_, result = run(Path(sys.argv[1], "eager"), model=model, epochs=1)
_, same = run(Path(sys.argv[1], "compiled"), model=compiled, epochs=1)
assert result.inhibited_steps == same.inhibited_steps > 0
pairs = zip(model.state_dict().items(), compiled.state_dict().items(), strict=True)
for (name, value), (compiled_name, other) in pairs:
    assert name == compiled_name
    torch.testing.assert_close(other, value, rtol=1e-4, atol=1e-5)
"""


def test_a_compiled_network_trains_as_it_does_otherwise(tmp_path):
    # In a process of its own: the compiler does not see through the checks of types that all tests run under.
    done = subprocess.run(
        [sys.executable, "-c", COMPILED, tmp_path], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


GRAPHS = """
import torch
from tenet.inhibition import Inhibition
from tenet.training.loop import compile_stages
from tests.training.test_loop import make_model

ran, graphs = [], []

def backend(graph, inputs):
    number = len(graphs)
    graphs.append(graph)

    def run(*inputs):
        ran.append(number)
        return graph(*inputs)

    return run

model = make_model()
compile_stages(model, batch_size=8, backend=backend)
inhibition = Inhibition(layer="stage_2", groups=3)
generator = torch.Generator().manual_seed(0)

def graphs_of(batch, is_inhibited):
    ran.clear()
    images, labels = torch.randn(batch, 3, 32, 32), torch.zeros(batch, dtype=torch.int64)
    if is_inhibited:
        inhibition.step(model, images, labels, generator=generator).loss.backward()
    else:
        model(images).sum().backward()
    return list(ran)

parts = len(model.stages) + 1
plain, inhibited = graphs_of(8, False), graphs_of(5, True)
assert len(plain) == len(set(plain)) == parts, plain
assert len(inhibited) == 2 * parts and not set(inhibited) & set(plain), inhibited
for batch in (7, 6):
    assert graphs_of(8, False) == plain
    assert graphs_of(batch, True) == inhibited
"""


def test_compiled_each_part_is_one_graph_for_plain_steps_and_another_for_all_sizes_of_inhibited_ones():
    # In a process of its own: the compiler does not see through the checks of types that all tests run under.
    done = subprocess.run([sys.executable, "-c", GRAPHS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_bits_are_not_promised_of_compiled_networks():
    with pytest.raises(ConfigError, match=r"trainer\.compile=true .* or trainer\.deterministic=true"):
        TrainingSettings(compile=True, deterministic=True)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    run(tmp_path, epochs=1)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt does not fit"):
        run(tmp_path, model=ResNet(num_classes=3, depth=8, width=8))


def test_a_checkpoint_holds_plain_values_and_tensors_only(tmp_path):
    run(tmp_path, epochs=1)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["step"] == 6
    json.dumps({name: saved[name] for name in ("step", "inhibited_steps", "skipped_steps", "metrics")})
