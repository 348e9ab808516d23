"""The published networks: their keys and shapes, and their values given the weights."""

import json
import math

import numpy as np
import pytest
import torch

from tenet.networks import AllConv, DenseNet, Network, ResNet18, ResNeXt, WideResNet, list_cuts
from tests.golden import GOLDEN

DESCRIPTIONS = json.loads((GOLDEN / "networks.json").read_text())["networks"]
NETWORKS = {
    "allconv": lambda classes: AllConv(classes),
    "densenet_40_12": lambda classes: DenseNet(classes),
    "densenet_bc_100_12": lambda classes: DenseNet(classes, depth=100, bottleneck=True, compression=0.5),
    "wrn_40_2": lambda classes: WideResNet(classes),
    "wrn_40_4": lambda classes: WideResNet(classes, widen_factor=4, dropout=0.3),
    "resnext29_4x32d": lambda classes: ResNeXt(classes),
    "resnet18": lambda classes: ResNet18(classes),
}


def weights_by_rule(name):
    """The weights that networks.json describes, by key, in the order in which they are drawn."""
    generator = np.random.default_rng(DESCRIPTIONS[name]["seed"])
    weights = {}
    for key, shape in DESCRIPTIONS[name]["state_dict"]:
        if key.endswith("num_batches_tracked"):
            weights[key] = torch.tensor(0)
            continue
        if key.endswith("running_var"):
            values = 0.5 + generator.random(shape)
        elif key.endswith(("running_mean", "bias")):
            values = 0.1 * generator.standard_normal(shape)
        elif len(shape) >= 2:
            values = generator.standard_normal(shape) * math.sqrt(2 / math.prod(shape[1:]))
        else:
            values = 1 + 0.1 * generator.standard_normal(shape)
        weights[key] = torch.from_numpy(np.asarray(values, np.float32))
    return weights


@pytest.fixture(scope="module")
def values():
    with np.load(GOLDEN / "networks.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture(params=NETWORKS)
def case(request):
    """Name and network, with the weights of networks.json. Keys that have other names are in the same order."""
    name = request.param
    model = NETWORKS[name](DESCRIPTIONS[name]["classes"])
    weights = weights_by_rule(name)
    own = model.state_dict()
    assert [list(tensor.shape) for tensor in own.values()] == [
        list(tensor.shape) for tensor in weights.values()
    ]
    model.load_state_dict(dict(zip(own, weights.values(), strict=True)))
    return name, model


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


@pytest.mark.slow
def test_size_logits_and_features_at_the_cuts_are_the_published_ones(case, values):
    name, model = case
    described = DESCRIPTIONS[name]
    assert sum(parameter.numel() for parameter in model.parameters()) == described["parameters"]
    aliases = model.cut_aliases
    cuts = {
        aliases.get(cut, cut if not cut.startswith("block") else f"{cut}.layer"): cut
        for cut in described["stages"]
    }
    shapes = list_cuts(model, (3, 32, 32))
    means = {}
    for module, cut in cuts.items():
        assert list(shapes[module]) == described["stages"][cut]
        model.get_submodule(module).register_forward_hook(
            lambda module, inputs, output, cut=cut: means.update({cut: output.mean(dim=(2, 3))})
        )
    with torch.no_grad():
        assert_close(model.eval()(values["images"]), values[f"{name}/logits"])
    for cut, mean in means.items():
        assert_close(mean, values[f"{name}/{cut}/mean"])


@pytest.mark.slow
def test_train_logits_are_the_published_ones(case, values):
    name, model = case
    if f"{name}/train_logits" not in values:
        pytest.skip("dropout makes train mode random")
    with torch.no_grad():
        assert_close(model.train()(values["images"]), values[f"{name}/train_logits"])


def test_keys_are_those_of_the_released_checkpoints():
    for name in ("allconv", "densenet_40_12", "densenet_bc_100_12", "resnet18"):
        with torch.device("meta"):
            model = NETWORKS[name](10)
        assert list(model.state_dict()) == [key for key, _ in DESCRIPTIONS[name]["state_dict"]]


def test_a_network_is_cut_at_a_published_cut():
    model = Network(AllConv(10), cut="features.10").eval()
    features, logits = model(torch.rand(2, 3, 32, 32), torch.ones(2, 96, 16, 16))
    assert features.shape == (2, 96, 16, 16)
    assert logits.shape == (2, 10)
