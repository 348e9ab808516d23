"""The method against the official implementation's own values."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tenet.inhibition import (
    Inhibition,
    group_channels,
    group_importance,
    inhibition_mask,
    orthogonality_loss,
)
from tenet.networks import ResNeXt
from tests import golden

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=golden.INHIBITION_FILES)
def values(request):
    return golden.load(request.param)


def test_assignments_equal_the_official_ones(values):
    medoids = values["initial_medoids"]
    assignments = group_channels(values["features"], groups=medoids.shape[1], initial_medoids=medoids)
    assert torch.equal(assignments, values["assignments"])


def test_importance_and_mask_are_the_official_ones(values):
    given = {"assignments": values["assignments"], "groups": values["initial_medoids"].shape[1]}
    importance = group_importance(values["gradients"], **given)
    torch.testing.assert_close(importance, values["importance"], rtol=1e-5, atol=1e-7)
    mask = inhibition_mask(values["features"], gradients=values["gradients"], **given)
    torch.testing.assert_close(mask, values["mask"], rtol=0, atol=1e-5)


def test_orthogonality_is_the_official_one(values):
    groups = values["initial_medoids"].shape[1]
    loss = orthogonality_loss(values["features"], assignments=values["assignments"], groups=groups)
    torch.testing.assert_close(loss, values["orthogonality"], rtol=1e-5, atol=0)


def load_step(name):
    values = golden.load(name)
    config = values["config"]
    model = ResNeXt(config["num_classes"], config["depth"], config["card"], config["bw"], config["wf"])
    model.load_state_dict(
        {
            name.removeprefix("weights/"): value
            for name, value in values.items()
            if name.startswith("weights/")
        }
    )
    inhibition = Inhibition(
        layer=config["layer"],
        groups=config["groups"],
        weight=config["loss_weight"],
        orthogonality=config["orthogonality_weight"],
    )
    return values, model, inhibition


@pytest.fixture(params=golden.STEP_FILES)
def step(request):
    return load_step(request.param)


def test_plain_logits_are_the_official_ones(step):
    values, model, _ = step
    torch.testing.assert_close(model.eval()(values["images"]), values["eval_logits"], rtol=0, atol=1e-4)


def test_a_whole_inhibited_step_is_the_official_one(step):
    assert_official_step(*step)


COMPILED = """
import sys
import torch
from tenet.training.loop import compile_stages
from tests import golden
from tests.inhibition.test_golden import assert_official_step, load_step

device, backend, dtype, *files = sys.argv[1:]
for file in files:
    values, model, inhibition = load_step(file)
    values = {name: value.to(device) if torch.is_tensor(value) else value for name, value in values.items()}
    values["images"] = values["images"].to(getattr(torch, dtype))
    model.to(values["images"])
    compile_stages(model, batch_size=0, backend=backend)  # an inhibited step has another size than a plain one
    assert_official_step(values, model, inhibition)
"""


@pytest.mark.parametrize(
    ("device", "backend", "dtype"),
    [
        # aot_eager: the graphs that `trainer.compile` compiles, without the minutes that takes.
        ("cpu", "aot_eager", "float32"),
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
    # In a process of its own: the compiler does not see through the checks of types that all tests run under.
    command = [sys.executable, "-c", COMPILED, device, backend, dtype, *golden.STEP_FILES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def assert_official_step(values, model, inhibition):
    output = inhibition.step(
        model, values["images"], values["labels"], initial_medoids=values["initial_medoids"]
    )
    output = type(output)(*(part.float() if part.is_floating_point() else part for part in output))
    assert torch.equal(output.assignments, values["assignments"])
    torch.testing.assert_close(output.mask, values["mask"], rtol=0, atol=1e-5)
    torch.testing.assert_close(output.logits, values["masked_logits"], rtol=0, atol=1e-4)
    torch.testing.assert_close(output.orthogonality, values["orthogonality"], rtol=1e-5, atol=0)
    torch.testing.assert_close(output.loss, values["loss"], rtol=1e-5, atol=0)
    output.loss.backward()
    gradients = dict(model.named_parameters())
    assert {f"gradients/{name}" for name in gradients} == {n for n in values if n.startswith("gradients/")}
    for name, parameter in gradients.items():
        official = values[f"gradients/{name}"]
        error = (parameter.grad.float() - official).norm() / official.norm()
        assert error < 1e-4, f"{name}: {error}"
