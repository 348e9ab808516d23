"""Network: the one place for normalisation, precision and memory format."""

import copy
from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from torch import nn

from tenet.experiment.backbone import check_forward
from tenet.networks import Network, ResNet, find_min_batch_size
from tenet.networks.compile import find_regions


@pytest.fixture
def backbone() -> nn.Module:
    torch.manual_seed(0)
    return ResNet(num_classes=5, depth=8, width=4).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_images_are_normalised_once_by_channel(backbone: nn.Module, images: torch.Tensor) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    network = Network(backbone, mean=mean, std=std)
    expected = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert torch.equal(network(images), backbone(expected))


def test_the_backbone_keeps_its_own_names_of_weights(backbone: nn.Module) -> None:
    before = list(backbone.state_dict())
    assert list(Network(backbone, cut="stage_2").backbone.state_dict()) == before


def test_logits_are_float32_in_bf16_and_float64_for_a_float64_backbone(
    backbone: nn.Module, images: torch.Tensor
) -> None:
    exact = Network(backbone)(images)
    rounded = Network(backbone, precision="bf16")(images)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.1, atol=0.1)
    assert not torch.equal(rounded, exact)
    assert Network(copy.deepcopy(backbone).double())(images.double()).dtype == torch.float64


def test_channels_last_is_the_layout_of_weights_and_features(
    backbone: nn.Module, images: torch.Tensor
) -> None:
    expected = Network(backbone)(images)
    network = Network(copy.deepcopy(backbone), channels_last=True)
    seen = []
    network.backbone.stages.stage_1.register_forward_hook(lambda module, inputs, output: seen.append(output))
    torch.testing.assert_close(network(images), expected)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("size", "fewest"), [((4, 4), 2), ((8, 8), 1)])
def test_one_sample_of_1x1_maps_is_too_few_for_batch_norm(size: tuple[int, int], fewest: int) -> None:
    with torch.device("meta"):
        network = Network(ResNet(3, depth=8, width=4))
    network = network.to("meta").eval()
    assert find_min_batch_size(network, (3, *size)) == fewest
    assert not network.training


def test_a_network_is_compiled_in_regions_that_end_at_the_cut() -> None:
    backbone = ResNet(3, depth=8, width=4)
    names = {module: name for name, module in backbone.named_modules()}
    assert [names[region] for region in find_regions(backbone, "stages.stage_2.0.conv_1")] == [
        "stages.stem", "stages.stage_1", "stages.stage_2.0.conv_1", "stages.stage_2.0.bn_1", "stages.stage_2.0.conv_2",
        "stages.stage_2.0.bn_2", "stages.stage_2.0.shortcut", "stages.stage_3", "head",
    ]  # fmt: skip
    assert list(find_regions(backbone, None)) == [backbone]


class Wrong(nn.Module):
    """Returns what `change` makes of a model's logits."""

    def __init__(self, change: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.model, self.change = ResNet(2, depth=8, width=4), change

    def forward(self, images: torch.Tensor) -> Any:
        return self.change(self.model(images))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda logits: (logits, logits), "Wrong returns a tuple in training, not one tensor of logits"),
        (lambda logits: {"logits": logits}, "Wrong returns a dict in training"),
        (lambda logits: logits[:, :, None], r"Wrong returns \[2, 2, 1\] in training"),
        (lambda logits: logits.repeat(1, 2), "Wrong returns 4 logits for 2 classes"),
    ],
)
def test_a_backbone_that_returns_something_else_than_a_logit_for_each_class_is_refused(
    change: Callable[[torch.Tensor], Any], message: str
) -> None:
    with torch.device("meta"):
        outline = Network(Wrong(change))
    with pytest.raises(ValueError, match=message):
        check_forward(outline.to("meta"), (3, 16, 16))


def test_pixels_from_0_to_255_are_refused(backbone: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        jaxtyping.config, "jaxtyping_disable", True
    )  # outside the tests, nothing checks the types
    with pytest.raises(ValueError, match="divide pixels by 255"):
        Network(backbone)(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
