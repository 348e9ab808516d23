"""The cut of any model at any of its modules, by name: exact, listed, and refused where it can't be."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tenet.files.weights import load_weights
from tenet.networks import Network, ResNet, ResNeXt, WideResNet, imagenet_resnet, list_cuts

SHARED = ["stem", "stage_1", "stage_2", "stage_3"]
BACKBONES: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "ResNeXt": (lambda: ResNeXt(7, depth=11, base_width=4, widen_factor=1), [*SHARED, "conv_1_3x3"]),
    "ResNet": (lambda: ResNet(7, depth=8, width=4), [*SHARED, "stages.stage_2.0.conv_2"]),
    "WideResNet": (lambda: WideResNet(7, depth=10, widen_factor=1), [*SHARED, "block2.layer.0.bn2"]),
    "ResNet-50's kind": (
        lambda: imagenet_resnet(7, blocks=[1, 2, 1, 1]),
        [*SHARED, "stage_4", "layer3", "layer2.0.conv2"],
    ),
}
CUTS = [(name, layer) for name, (_, layers) in BACKBONES.items() for layer in layers]


def make(name: str, layer: str | None = None) -> Network:
    torch.manual_seed(0)
    network = Network(BACKBONES[name][0](), cut=layer)
    # BatchNorm starts as the identity, which would hide one that is missing or misplaced.
    for key, tensor in network.state_dict().items():
        if key.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif key.endswith("running_var"):
            tensor.uniform_(0.8, 1.2)
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), CUTS)
def test_a_cut_is_exact_and_masks_what_its_module_returns(name: str, layer: str) -> None:
    network, images = make(name, layer), torch.rand(2, 3, 64, 64)
    assert network.cut is not None
    ones = torch.ones(2, *list_cuts(network.backbone, (3, 64, 64))[network.cut])
    mask = torch.rand(ones.shape)
    with torch.no_grad():
        plain = network(images)
        assert torch.equal(plain, make(name)(images))
        assert torch.equal(network(images, ones)[1], plain)
        features, masked = network(images, mask)
        by_hand = make(name)
        by_hand.backbone.get_submodule(network.cut).register_forward_hook(
            lambda module, inputs, output: output * mask
        )
        assert torch.equal(masked, by_hand(images))
    assert features.shape == mask.shape
    assert not torch.equal(masked, plain)


def test_features_are_those_before_a_module_that_works_in_place() -> None:
    network = make("ResNeXt", "bn_1")  # an in-place ReLU follows
    features, _ = network(torch.rand(2, 3, 32, 32), torch.ones(2, 64, 32, 32))
    assert (features < 0).any()


def test_the_stages_have_the_channels_and_sizes_that_are_documented() -> None:
    cuts = list_cuts(make("ResNet-50's kind").backbone, (3, 64, 96))
    assert [cuts[name] for name in ("maxpool", "layer1", "layer2", "layer3", "layer4")] == [
        (64, 16, 24), (256, 16, 24), (512, 8, 12), (1024, 4, 6), (2048, 2, 3),
    ]  # fmt: skip


def test_modules_that_run_twice_or_give_no_maps_are_no_cuts() -> None:
    cuts = list_cuts(make("ResNet-50's kind").backbone, (3, 64, 64))
    assert "layer1.0.relu" not in cuts, "it runs three times in a block"
    assert {"fc", "avgpool"} & set(cuts) == {"avgpool"}, "a linear layer returns no maps"


@pytest.mark.parametrize(
    ("layer", "hint"),
    [("stage_9", "stage_1"), ("layer2.0.conv", "layer2.0.conv1"), ("nonsense", "stem, stage_1, ")],
)
def test_an_unknown_layer_is_refused_with_names_that_exist(layer: str, hint: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^cut={layer} is no module of ResNet; some of its \d+ modules: .*"
    ) as error:
        make("ResNet-50's kind", layer)
    assert hint in str(error.value)


def test_without_a_cut_nothing_can_be_masked() -> None:
    with pytest.raises(ValueError, match="without a cut"):
        make("ResNet")(torch.rand(1, 3, 16, 16), torch.ones(1, 8, 8, 8))


def test_weights_of_torchvisions_resnet50_give_its_logits(tmp_path: Path) -> None:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    theirs = resnet50(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet50.pth")
    with torch.device("meta"):
        outline = imagenet_resnet()
    ours = outline.to_empty(device="cpu").eval()
    load_weights(ours, tmp_path / "resnet50.pth")
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))
    assert sum(parameter.numel() for parameter in ours.parameters()) == 25_557_032
