"""ImageNetResNet beside torchvision's ResNet-50, and its cuts."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from tenet.config.rules import check_rules
from tenet.files.weights import load_weights
from tenet.inhibition import Inhibition
from tenet.inhibition.regularizer import split
from tenet.networks import ImageNetResNet

STAGES = ["stem", "stage_1", "stage_2", "stage_3", "stage_4"]


def randomize_statistics(model: nn.Module) -> None:
    """BatchNorm starts as the identity, and would hide one that is missing or misplaced."""
    for name, tensor in model.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.8, 1.2)


@pytest.fixture
def small() -> nn.Module:
    torch.manual_seed(0)
    model = ImageNetResNet(7, blocks=[1, 2, 1, 1]).eval()
    randomize_statistics(model)
    return model


def test_weights_of_torchvisions_resnet50_give_its_logits(tmp_path: Path):
    from torchvision.models import resnet50

    torch.manual_seed(0)
    theirs = resnet50(weights=None).eval()
    randomize_statistics(theirs)
    torch.save(theirs.state_dict(), tmp_path / "resnet50.pth")
    with torch.device("meta"):
        outline = ImageNetResNet()
    ours = outline.to_empty(device="cpu").eval()
    load_weights(ours, tmp_path / "resnet50.pth")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = theirs(images)
        assert torch.equal(ours(images), expected)
    assert expected.std() > 0.1, "the logits say nothing"


def test_resnet50_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = ImageNetResNet()
    assert sum(parameter.numel() for parameter in model.parameters()) == 25_557_032


@pytest.mark.parametrize("layer", STAGES)
def test_a_cut_after_every_stage_is_exact(small: nn.Module, layer: str):
    images = torch.randn(2, 3, 64, 64)
    front, back = split(small, layer)
    with torch.no_grad():
        assert torch.equal(back(front(images)), small(images))


def test_the_stages_have_the_channels_and_sizes_that_are_promised(small: nn.Module):
    features, shapes = torch.randn(1, 3, 64, 96), []
    assert [name for name, _ in small.stages.named_children()] == STAGES
    with torch.no_grad():
        for stage in small.stages:
            features = stage(features)
            shapes.append(tuple(features.shape[1:]))
    assert shapes == [(64, 16, 24), (256, 16, 24), (512, 8, 12), (1024, 4, 6), (2048, 2, 3)]


def test_stages_and_head_are_its_own_modules_also_after_copying_and_moving(small: nn.Module):
    model = copy.deepcopy(small).to(torch.float64)
    model.fc.weight.data.zero_()
    model.layer3[0].conv2.weight.data.zero_()
    assert (model.head[2].weight == 0).all()
    assert (model.stages.stage_3[0].conv2.weight == 0).all()
    assert model.stages.stem[0].weight.dtype == torch.float64
    assert not (small.fc.weight == 0).all()


def test_an_inhibited_step_at_the_last_stage_reaches_all_weights(small: nn.Module):
    check_rules({"tenet": {"layer": "stage_4"}, "backbone": {"blocks": [1, 2, 1, 1]}})
    inhibition = Inhibition(layer="stage_4", groups=4)
    inhibition.check(small, (3, 64, 64))
    generator = torch.Generator().manual_seed(0)
    step = inhibition.step(small, torch.randn(3, 3, 64, 64), torch.tensor([0, 3, 6]), generator=generator)
    assert step.mask.shape == (3, 2048, 2, 2)
    step.loss.backward()
    assert all(parameter.grad is not None for parameter in small.parameters())


@pytest.mark.parametrize("blocks", [(3, 4, 6), (3, 4, 6, 0)])
def test_impossible_blocks_are_refused(blocks: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"^blocks=\[3, 4, 6.* four stages"):
        ImageNetResNet(blocks=blocks)
