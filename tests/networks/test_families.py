"""The cut and the method on models of many families: maps, tokens and channels last."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tenet.methods import Batch, CrossEntropy, Draw, Inhibited, importance_pass
from tests.entry_points import ROOT, TINY, train
from tests.networks.families import FAMILIES, Family, make_batch, make_network

pytest.importorskip("timm")
# A family of each layout; the others are as many again.
QUICK = ("resnet", "convnext inside", "vit", "swin")
EACH = [
    pytest.param(family, id=name, marks=[] if name in QUICK else pytest.mark.alone)
    for name, family in FAMILIES.items()
]
STEP = 1e-7


@pytest.mark.parametrize("family", EACH)
def test_a_mask_of_ones_changes_no_bit_and_another_one_does(family: Family) -> None:
    network, (images, _) = make_network(family).eval(), make_batch(family)
    with torch.no_grad():
        plain = network(images)
        assert torch.equal(plain, make_network(family, cut=False).eval()(images))
        height, width = images.shape[2:]
        ones = torch.ones(len(images), *network.find_cut((3, height, width)).maps)
        features, masked = network(images, ones)
        assert str(network.layout) == family.layout
        assert features.shape == ones.shape
        assert torch.equal(masked, plain)
        assert not torch.equal(network(images, ones / 2)[1], plain)


@pytest.mark.parametrize("family", EACH)
def test_importance_gradients_are_those_of_finite_differences(family: Family) -> None:
    network, (images, labels) = make_network(family).double().eval(), make_batch(family)
    images = images.double()
    features, gradients = importance_pass(network, images, labels)

    def scores(change: torch.Tensor) -> float:
        with torch.no_grad(), network.at_cut(lambda maps: maps + change):
            return network(images).gather(1, labels[:, None]).sigmoid().sum().item()

    # Where the gradient is largest, and in a direction that takes all features in, but those at the kink of a ReLU:
    # max-pooling has no derivative among zeros.
    is_smooth = features != 0
    direction = is_smooth * torch.randn(
        features.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    one = torch.zeros_like(features).flatten()
    one[(gradients * is_smooth).abs().argmax()] = 1
    for change in (direction, one.view_as(features)):
        slope = (scores(STEP * change) - scores(-STEP * change)) / (2 * STEP)
        assert slope == pytest.approx((gradients * change).sum().item(), rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("family", EACH)
def test_an_inhibited_update_follows_a_plain_one(family: Family) -> None:
    network, (images, _) = make_network(family).train(), make_batch(family)
    with torch.no_grad():  # all of them are right
        torch.manual_seed(7)
        labels = network(images).argmax(1)
    network.load_state_dict(make_network(family).state_dict())
    method = Inhibited(method=CrossEntropy(), layer=family.cut, groups=3, start_step=0, interval=1)
    torch.manual_seed(7)
    batch = Batch(images=images, labels=labels, step=1, draw=Draw("cpu", seed=0, step=1))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    losses = []
    for update in method.updates(network, batch):
        optimizer.zero_grad()
        update.loss.backward()
        optimizer.step()
        losses.append(update.loss.item())
    assert method.counters() == {"inhibited_steps": 1, "skipped_steps": 0}
    assert all(torch.isfinite(torch.tensor(losses)))


@pytest.mark.alone
def test_two_processes_take_equal_updates(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "tests.networks.member"]
    names = ("resnet", "vit", "swin")
    subprocess.run(
        [sys.executable, *command, str(tmp_path), *names], env=environment, check=True, timeout=500
    )
    for name in names:
        first, second = (torch.load(tmp_path / f"{name}-{rank}.pt") for rank in range(2))
        start = make_network(FAMILIES[name]).backbone.state_dict()
        parameters = dict(make_network(FAMILIES[name]).backbone.named_parameters())
        assert all(torch.equal(first[key], second[key]) for key in parameters)
        assert any(not torch.equal(first[key], start[key]) for key in parameters)


@pytest.mark.alone
def test_a_run_with_dropout_and_stochastic_depth_resumes_to_the_same_weights(tmp_path: Path) -> None:
    words = [word for word in TINY if not word.startswith("backbone.")]
    kwargs = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    kwargs |= {"drop_path_rate": 0.3, "proj_drop_rate": 0.1}
    words += ["backbone=timm", "backbone.name=vit_tiny_patch16_224", "tenet.layer=blocks.0"]
    words += [f"+backbone.kwargs.{name}={value}" for name, value in kwargs.items()]
    train(*words, "hydra.run.dir=whole", cwd=tmp_path)
    train(*words, "hydra.run.dir=parts", "trainer.max_steps=13", cwd=tmp_path)
    train("resume=parts", "trainer.max_steps=null", cwd=tmp_path)
    whole, parts = ((tmp_path / run / "weights.safetensors").read_bytes() for run in ("whole", "parts"))
    assert whole == parts
