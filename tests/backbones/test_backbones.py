import copy
import json

import pytest
import torch

from tenet.backbones import ResNet, ResNeXt
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


@pytest.mark.parametrize(
    "build", [lambda: ResNeXt(7, depth=11, base_width=4, widen_factor=1), lambda: ResNet(7, depth=8)]
)
def test_forward_is_head_after_stages(build):
    torch.manual_seed(0)
    model = build().eval()
    images = torch.randn(2, 3, 32, 32)
    assert [name for name, _ in model.stages.named_children()] == ["stem", "stage_1", "stage_2", "stage_3"]
    assert model(images).shape == (2, 7)
    assert torch.equal(model(images), model.head(model.stages(images)))


@pytest.mark.parametrize("size", [(28, 28), (64, 48)])
def test_other_image_sizes_work(size):
    assert ResNet(3).eval()(torch.randn(2, 3, *size)).shape == (2, 3)
    assert ResNeXt(3, depth=11, base_width=4, widen_factor=1).eval()(torch.randn(2, 3, *size)).shape == (2, 3)


def test_resnext_stages_are_its_own_modules_also_after_copying_and_moving():
    model = copy.deepcopy(ResNeXt(3, depth=11, base_width=4, widen_factor=1)).to(torch.float64)
    model.classifier.weight.data.zero_()
    model.stage_1[0].conv_conv.weight.data.zero_()
    assert (model.head[2].weight == 0).all()
    assert (model.stages.stage_1[0].conv_conv.weight == 0).all()
    assert model.stages.stem[0].weight.dtype == torch.float64


@pytest.mark.parametrize("network", [ResNet, ResNeXt])
def test_impossible_depth_is_refused(network):
    with pytest.raises(ValueError, match="depth=13 must be 2 more than a multiple of"):
        network(10, depth=13)
