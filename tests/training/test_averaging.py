"""The moving average of the weights: its values, that a resumed run continues it, and how it is evaluated."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tenet.config.run_config import read_config
from tenet.files.weights import load_weights
from tenet.networks import Network
from tenet.run.metrics_file import read_metrics
from tenet.training.averaging import WeightAverage
from tests import golden
from tests.entry_points import TINY, evaluate, train
from tests.faults.places import Fault
from tests.training.runs import assert_same_weights, make_backbone, run, train_by_hand

KILLED = -9


def make_network() -> Network:
    layers = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    return Network(nn.Sequential(*layers))


def test_the_average_has_the_golden_values() -> None:
    """Its first update copies; floating-point buffers are averaged, and the counter is the network's own."""
    values = golden.load("ema.npz")
    network = make_network()
    average = WeightAverage(make_network(), decay=float(values["decay"]))
    for index in range(5):
        start = f"model/{index}/"
        state = {name.removeprefix(start): value for name, value in values.items() if name.startswith(start)}
        network.backbone.load_state_dict(state)
        average.update(network, step=index + 1)
    for name, value in average.network.backbone.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert value == 5
        else:
            torch.testing.assert_close(value, values[f"averaged/{name}"], rtol=0, atol=1e-6)


def test_an_iteration_counts_once_after_its_last_update(tmp_path) -> None:
    """Against torch's own average of the weights that each iteration ended with; some iterations have two updates."""
    backbone, steps = make_backbone(), []
    torchs = AveragedModel(backbone, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True)

    class Watched(WeightAverage):
        def update(self, network, *, step):
            super().update(network, step=step)
            torchs.update_parameters(network.backbone)
            steps.append(step)

    average = Watched(Network(make_backbone()), decay=0.8)
    state = run(tmp_path, backbone=backbone, average=average)
    assert steps == [*range(1, 19)]
    assert state.method.counters()["inhibited_steps"] > 0
    assert_same_weights(backbone, train_by_hand()[0])  # the average leaves them alone
    for name, value in average.network.backbone.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, torchs.module.state_dict()[name]), name
            assert not torch.equal(value, backbone.state_dict()[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 11])
def test_a_stopped_run_continues_its_average_exactly(tmp_path, stop) -> None:
    def average() -> WeightAverage:
        return WeightAverage(Network(make_backbone()), decay=0.8)

    whole = run(tmp_path / "whole", average=average())
    run(tmp_path / "part", average=average(), max_steps=stop)
    resumed = run(tmp_path / "part", average=average())
    assert resumed.resumed_at == stop
    assert_same_weights(resumed.average.network, whole.average.network)
    assert_same_weights(resumed.network, whole.network)


ARGUMENTS = [
    *TINY, "ema.decay=0.9", "trainer.clip_norm=0.5", "schedule=onecycle", "trainer.evaluate_images=100",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaged")
    output = train(*ARGUMENTS, "hydra.run.dir=run", cwd=folder).output
    return folder / "run", output


@pytest.mark.slow
def test_a_run_evaluates_its_average_next_to_its_weights_and_saves_it(trained) -> None:
    run, output = trained
    summary = json.loads((run / "summary.json").read_text())
    assert summary["test_ema/error_pct"] != summary["test/error_pct"]
    assert f"test ema error {summary['test_ema/error_pct']:.2f} %" in output
    names = {name for line in read_metrics(run / "metrics.jsonl") for name in line if name.startswith("test")}
    parts = [f"test{kind}{part}" for kind in ("", "_ema") for part in ("", "_subset")]
    assert names == {f"{part}/{figure}" for part in parts for figure in ("error_pct", "loss")}
    weights, averaged = (load_file(run / f"weights{kind}.safetensors") for kind in ("", "-ema"))
    assert weights.keys() == averaged.keys()
    assert any(not torch.equal(value, averaged[name]) for name, value in weights.items())
    rates = [
        line["train/learning_rate"]
        for line in read_metrics(run / "metrics.jsonl")
        if "train/learning_rate" in line
    ]
    peak = read_config(run)["optimizer"]["lr"]
    assert max(rates) > 0.9 * peak > rates[0] > rates[-1] < peak / 1e4


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_average_schedule_and_clipping(trained, tmp_path) -> None:
    whole, _ = trained
    fault = Fault("kill", "named checkpoint.pt", 2)
    train(*ARGUMENTS, "hydra.run.dir=run", cwd=tmp_path, fault=fault, code=KILLED)
    train("resume=run", cwd=tmp_path)
    for name in ("weights.safetensors", "weights-ema.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name


CELLS = ["corruptions.names=[fog]", "corruptions.severities=[1]", "measures.intervals=false", "tracking=none"]


def test_evaluate_measures_the_average_under_a_name_of_its_own(trained) -> None:
    run, _ = trained
    summary = json.loads((run / "summary.json").read_text())
    for key, name, kind in (("null", "corruptions-part", ""), ("model_ema", "corruptions-ema-part", "_ema")):
        evaluate(f"run={run}", f"weights_key={key}", *CELLS, cwd=run.parent)
        report = json.loads((run / "evaluation" / f"{name}.json").read_text())
        assert report["clean"]["error_pct"] == pytest.approx(summary[f"test{kind}/error_pct"])
        assert report["measured"]["is_average"] == bool(kind)
    assert (run / "evaluation" / "corruptions-part.json").exists(), "not replaced"
    assert json.loads((run / "summary.json").read_text()) == summary


def test_a_checkpoint_holds_the_average_too(trained, tmp_path) -> None:
    run, _ = trained
    backbone = make_backbone_of(run)
    for key, name in (("model", "weights"), ("model_ema", "weights-ema")):
        load_weights(backbone, run / "checkpoint.pt", key=key)
        expected = copy.deepcopy(backbone)
        load_weights(expected, run / f"{name}.safetensors")
        assert_same_weights(backbone, expected)


def make_backbone_of(run) -> nn.Module:
    from tenet.experiment import build_backbone

    return build_backbone(read_config(run)["backbone"], num_classes=10)


def test_averaged_weights_that_a_run_lacks_are_refused_with_the_remedy(tmp_path) -> None:
    train(*TINY, "trainer.max_steps=1", "hydra.run.dir=run", cwd=tmp_path)
    assert not (tmp_path / "run" / "weights-ema.safetensors").exists()
    refused = evaluate("run=run", "weights_key=model_ema", *CELLS, cwd=tmp_path, code=1)
    assert "weights_key=model_ema: " in refused.output
    assert "has no averaged weights; train it with ema.decay=0.999" in refused.output


def test_a_momentum_that_cycles_needs_an_optimizer_that_has_one(tmp_path) -> None:
    arguments = [*TINY, "schedule=onecycle", "optimizer=adagrad"]
    refused = train(*arguments, cwd=tmp_path, code=1)
    assert (
        "schedule.cycle_momentum=true: the chosen optimizer has neither momentum nor betas" in refused.output
    )
    train(*arguments, "schedule.cycle_momentum=false", "trainer.max_steps=1", cwd=tmp_path)
