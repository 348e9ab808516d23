import json
import subprocess
import sys

import pytest
import torch

from tenet.networks import ResNet, ResNeXt, WideResNet
from tenet.networks.resnet import StridedPointwise
from tests.golden import GOLDEN


def test_resnext29_has_the_official_checkpoint_s_keys_and_shapes():
    with torch.device("meta"):
        model = ResNeXt(num_classes=100)
    official = json.loads((GOLDEN / "resnext29-state-dict-cifar100.json").read_text())
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == official


def test_resnext29_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = ResNeXt(num_classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 6_807_882


@pytest.mark.parametrize("size", [(28, 28), (64, 48)])
def test_other_image_sizes_work(size):
    assert ResNet(3).eval()(torch.randn(2, 3, *size)).shape == (2, 3)
    assert ResNeXt(3, depth=11, base_width=4, widen_factor=1).eval()(torch.randn(2, 3, *size)).shape == (2, 3)


def test_wideresnet_40_2_has_the_published_size_and_the_usual_checkpoints_names():
    with torch.device("meta"):
        model = WideResNet(num_classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 2_243_546
    names = [name for name, _ in model.named_parameters()]
    assert {"conv1.weight", "block1.layer.0.bn1.weight", "block1.layer.0.convShortcut.weight",
            "block3.layer.5.conv2.weight", "bn1.bias", "fc.bias"} <= set(names)  # fmt: skip
    assert sum("convShortcut" in name for name in names) == 3
    assert [len(block.layer) for block in (model.block1, model.block2, model.block3)] == [6, 6, 6]


def test_wideresnet_s_dropout_acts_in_training_alone():
    torch.manual_seed(0)
    model = WideResNet(3, depth=10, widen_factor=1, dropout=0.5)
    images = torch.randn(4, 3, 16, 16)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize("network", [ResNet, ResNeXt, WideResNet])
def test_impossible_depth_is_refused(network):
    with pytest.raises(ValueError, match=r"depth=13 must be \d more than a multiple of"):
        network(10, depth=13)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [5, 17])
def test_narrow_networks_train_in_channels_last_on_odd_batches(batch):
    # In a process of its own: what this guards against ends the process.
    code = f"""
import torch
from tenet.networks import ResNet
model = ResNet(3, depth=8, width=4).to(memory_format=torch.channels_last)
for _ in range(20):
    images = torch.randn({batch}, 3, 32, 32).to(memory_format=torch.channels_last)
    model(images).sum().backward()
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=100).returncode == 0


def test_a_strided_pointwise_convolution_is_the_ordinary_one():
    convolution = StridedPointwise(6, 10, 1, 2, bias=False)
    images = torch.randn(3, 6, 9, 8)
    ordinary = torch.nn.functional.conv2d(images, convolution.weight, stride=2)
    torch.testing.assert_close(convolution(images), ordinary)
