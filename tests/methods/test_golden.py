"""A whole inhibited step against the official implementation's own values."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tenet.networks import ResNeXt
from tests import golden
from tests.methods.steps import RecordingNetwork, fix_medoids, inhibit

ROOT = Path(__file__).resolve().parents[2]


def load_step(name):
    """The official values, and a network of their weights; their images are normalised already."""
    values = golden.load(name)
    config = values["config"]
    backbone = ResNeXt(config["num_classes"], config["depth"], config["card"], config["bw"], config["wf"])
    weights = {
        key.removeprefix("weights/"): value for key, value in values.items() if key.startswith("weights/")
    }
    backbone.load_state_dict(weights)
    return values, RecordingNetwork(backbone, mean=[0.0] * 3, std=[1.0] * 3, cut=config["layer"])


@pytest.fixture(params=golden.STEP_FILES)
def step(request):
    return load_step(request.param)


def test_plain_logits_are_the_official_ones(step):
    values, network = step
    torch.testing.assert_close(network.eval()(values["images"]), values["eval_logits"], rtol=0, atol=1e-4)


def test_a_whole_inhibited_step_is_the_official_one(step, monkeypatch):
    assert_official_step(*step, monkeypatch)


def assert_official_step(values, network, monkeypatch):
    config = values["config"]
    assignments = fix_medoids(monkeypatch, values["initial_medoids"])
    update = inhibit(
        network.train(),
        values["images"],
        values["labels"],
        layer=config["layer"],
        groups=config["groups"],
        weight=config["loss_weight"],
        orthogonality=config["orthogonality_weight"],
    )
    assert torch.equal(assignments[0], values["assignments"])
    torch.testing.assert_close(network.mask.float(), values["mask"], rtol=0, atol=1e-5)
    torch.testing.assert_close(network.masked_logits.float(), values["masked_logits"], rtol=0, atol=1e-4)
    torch.testing.assert_close(
        update.terms["loss_orthogonality"].float(), values["orthogonality"], rtol=1e-5, atol=0
    )
    torch.testing.assert_close(update.loss.float(), values["loss"], rtol=1e-5, atol=0)
    update.loss.backward()
    gradients = dict(network.backbone.named_parameters())
    assert {f"gradients/{name}" for name in gradients} == {n for n in values if n.startswith("gradients/")}
    for name, parameter in gradients.items():
        official = values[f"gradients/{name}"]
        error = (parameter.grad.float() - official).norm() / official.norm()
        assert error < 1e-4, f"{name}: {error}"


COMPILED = """
import sys
import pytest
import torch
from tenet.networks import compile_network
from tests.methods.test_golden import assert_official_step, load_step

device, backend, dtype, *files = sys.argv[1:]
for file in files:
    values, network = load_step(file)
    values = {name: value.to(device) if torch.is_tensor(value) else value for name, value in values.items()}
    values["images"] = values["images"].to(getattr(torch, dtype))
    network.to(values["images"])
    compile_network(network, batch_size=0, backend=backend)  # inhibited batches have other sizes than plain ones
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert_official_step(values, network, monkeypatch)
"""


@pytest.mark.parametrize(
    ("device", "backend", "dtype"),
    [
        # aot_eager: the graphs that `trainer.compile` compiles, without the minutes that takes.
        pytest.param("cpu", "aot_eager", "float32", marks=pytest.mark.alone),
        # In float64: float32 that is rounded in another order can move a unit across the kink of its ReLU.
        pytest.param("cpu", "inductor", "float64", marks=pytest.mark.compiler),
        pytest.param(
            "cuda",
            "inductor",
            "float64",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ],
)
def test_a_compiled_inhibited_step_is_the_official_one(device, backend, dtype):
    # In a process of its own: the compiler does not see through the type checks that all tests run under.
    command = [sys.executable, "-c", COMPILED, device, backend, dtype, *golden.STEP_FILES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
