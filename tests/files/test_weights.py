"""Weights in files of other programs: which part of a file is taken, by which names, and what is refused."""

import argparse
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tenet.errors import CheckpointError
from tenet.files.weights import load_weights, read_weights, save_weights
from tenet.networks import ResNeXt, WideResNet
from tests.golden import GOLDEN

State = dict[str, Tensor]


def make_model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def state_of(seed: int, prefix: str = "") -> State:
    return {f"{prefix}{name}": tensor for name, tensor in make_model(seed).state_dict().items()}


def loaded(path: Path, *, key: str | None = None) -> int:
    """The seed of the model whose weights are taken from the file."""
    model = make_model(0)
    load_weights(model, path, key=key)
    first = model.state_dict()["0.weight"]
    return next(seed for seed in range(1, 9) if torch.equal(first, state_of(seed)["0.weight"]))


@pytest.mark.parametrize("name", ["w.pth.tar", "w.ckpt", "w.bin", "W.PTH", "w.pkl"])
def test_files_that_torch_save_wrote_are_read_under_every_usual_name(tmp_path: Path, name: str) -> None:
    torch.save({"state_dict": state_of(1)}, tmp_path / name)
    assert loaded(tmp_path / name) == 1


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: {"net": state_of(1), "acc": np.float64(1), "epoch": 3}, id="net, NumPy scalar"),
        pytest.param(lambda: {"model": state_of(1), "args": argparse.Namespace(lr=0.1)}, id="Namespace"),
        pytest.param(lambda: {"m": state_of(1), "at": Path("x"), "accs": np.arange(3)}, id="path, array"),
        pytest.param(lambda: {"state_dict": state_of(1, "net.")}, id="Lightning net."),
        pytest.param(lambda: {"state_dict": state_of(1, "model.module.")}, id="Lightning model.module."),
        pytest.param(lambda: {"state_dict": state_of(1, "net._orig_mod.")}, id="inner _orig_mod."),
        pytest.param(lambda: {"a": {"network": {"weights": state_of(1, "module.")}}}, id="deep"),
        pytest.param(lambda: {**state_of(1), "epoch": 3}, id="a number among the weights"),
        pytest.param(lambda: {**state_of(1), **state_of(1, "module.")}, id="twice the same"),
        pytest.param(lambda: {re.sub(r"^0", "0._orig_mod", n): t for n, t in state_of(1).items()}, id="part"),
        pytest.param(lambda: {n: t for n, t in state_of(1).items() if "num_batches" not in n}, id="old"),
    ],
)
def test_weights_are_found_under_any_key_and_prefix(
    tmp_path: Path, content: Callable[[], dict[str, Any]]
) -> None:
    torch.save(content(), tmp_path / "w.pth")
    assert loaded(tmp_path / "w.pth") == 1


@pytest.mark.parametrize(
    ("names", "averaged"),
    [
        (("model", "model_ema"), {}),
        (("state_dict", "state_dict_ema"), {}),
        (("model", "ema"), {"prefix": "module.", "n_averaged": torch.tensor(5)}),
    ],
)
def test_averaged_weights_are_passed_over_with_a_word_and_taken_if_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: tuple[str, str], averaged: dict[str, Any]
) -> None:
    plain, copy = names
    prefix, rest = averaged.get("prefix", ""), {k: v for k, v in averaged.items() if k != "prefix"}
    torch.save({copy: {**state_of(2, prefix), **rest}, plain: state_of(1)}, tmp_path / "w.pth")
    with caplog.at_level(logging.WARNING, logger="tenet"):
        assert loaded(tmp_path / "w.pth") == 1
    assert f"the weights are those of {plain}; for those of {copy}" in caplog.text
    assert loaded(tmp_path / "w.pth", key=copy) == 2
    assert loaded(tmp_path / "w.pth", key=plain) == 1
    with pytest.raises(CheckpointError, match=rf"weights_key=best: .* they are under .*{plain}"):
        loaded(tmp_path / "w.pth", key="best")


def test_averaged_weights_alone_are_taken(tmp_path: Path) -> None:
    torch.save({"model_ema": state_of(1), "epoch": 2}, tmp_path / "w.pth")
    assert loaded(tmp_path / "w.pth") == 1


def test_several_weights_without_a_preferred_one_are_refused_until_one_is_chosen(tmp_path: Path) -> None:
    torch.save({"student": state_of(1), "net": state_of(2)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="weights_key=student or weights_key=net"):
        loaded(tmp_path / "w.pth")
    assert loaded(tmp_path / "w.pth", key="net") == 2


@pytest.mark.parametrize("part", ["all", "one"])
def test_the_weights_under_no_key_are_chosen_by_a_dot(tmp_path: Path, part: str) -> None:
    other = state_of(2, "module.")
    if part == "one":
        other = {"module.0.weight": other["module.0.weight"]}
    torch.save({**state_of(1), **other}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"choose with weights_key=\.( or weights_key=module)?$"):
        loaded(tmp_path / "w.pth")
    assert loaded(tmp_path / "w.pth", key=".") == 1
    torch.save({"net": state_of(1)}, tmp_path / "nested.pth")
    with pytest.raises(CheckpointError, match=r"^weights_key=\.: .* they are under net$"):
        loaded(tmp_path / "nested.pth", key=".")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "net."])
@pytest.mark.parametrize("part", ["all", "bare name left", "wrapped name left"])
def test_two_values_of_one_weight_are_refused(tmp_path: Path, prefix: str, part: str) -> None:
    first, second = state_of(1), state_of(2, prefix)
    if part == "bare name left":
        first = {"0.weight": first["0.weight"]}
    elif part == "wrapped name left":
        second = {f"{prefix}0.weight": second[f"{prefix}0.weight"]}
    torch.save({**first, **second}, tmp_path / "w.pth")
    with pytest.raises(
        CheckpointError, match=r"different values|weights that fit and differ|unexpected: net\.0"
    ):
        loaded(tmp_path / "w.pth")


def test_what_a_training_module_holds_around_its_network_is_left_out_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(
        {"state_dict": {**state_of(1, "net."), "criterion.weight": torch.ones(2)}}, tmp_path / "w.ckpt"
    )
    with caplog.at_level(logging.INFO, logger="tenet"):
        assert loaded(tmp_path / "w.ckpt") == 1
    assert "left out: state_dict.criterion.weight" in caplog.text


def test_a_whole_module_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.save(make_model(1), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"Sequential.* never loaded; .*torch\.save\(model\.state_dict"):
        loaded(tmp_path / "w.pth")


# --- peers' networks, by the key lists of their files


@pytest.mark.parametrize("wrapper", ["", "module."])
@pytest.mark.parametrize(("name", "network"), [("wrn_40_2", WideResNet), ("resnext29_4x32d", ResNeXt)])
def test_augmix_and_robustbench_state_dicts_fit_key_by_key(
    tmp_path: Path, name: str, network: Callable[..., nn.Module], wrapper: str
) -> None:
    shapes = json.loads((GOLDEN / "augmix-state-dicts.json").read_text())[name]
    state = {key: torch.randn(shape) if shape else torch.tensor(7) for key, shape in shapes.items()}
    normalization = {"mu": torch.full((1, 3, 1, 1), 0.4), "sigma": torch.full((1, 3, 1, 1), 0.2)}
    theirs = {f"{wrapper}{key}": tensor for key, tensor in {**state, **normalization}.items()}
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"epoch": 1, "model": "wrn", "best_acc": np.float64(0.9), "state_dict": theirs}, path)
    model = network(num_classes=10)
    load_weights(model, path)
    # Both list their weights in the order of the forward pass.
    pairs = zip(model.state_dict().values(), state.values(), strict=True)
    assert all(torch.equal(ours, expected) for ours, expected in pairs)
    interface = read_weights(path).interface
    assert interface is not None
    assert interface.mean == pytest.approx((0.4,) * 3)
    assert interface.std == pytest.approx((0.2,) * 3)


def test_a_normalisation_of_pixel_values_is_one_of_images_in_0_1(tmp_path: Path) -> None:
    normalization = {"0.mean": torch.tensor([127.5, 51.0, 102.0]), "0.std": torch.tensor(255.0)}
    torch.save({**normalization, **state_of(1, "1.")}, tmp_path / "w.pth")
    assert loaded(tmp_path / "w.pth") == 1
    assert read_weights(tmp_path / "w.pth").interface == ((0.5, 0.2, 0.4), (1, 1, 1), (), None)


def test_the_unused_block_of_trades_is_left_out(tmp_path: Path) -> None:
    model = WideResNet(num_classes=10, depth=10, widen_factor=1)
    extra = {"sub_block1.layer.0.conv1.weight": torch.ones(16, 16, 3, 3)}
    torch.save({**model.state_dict(), **extra}, tmp_path / "w.pt")
    load_weights(WideResNet(num_classes=10, depth=10, widen_factor=1), tmp_path / "w.pt")


# --- the interface of our own files


INTERFACE = {
    "mean": [0.2, 0.3, 0.4],
    "std": [0.1, 0.2, 0.3],
    "classes": ["cat", "dög"],
    "image_size": [16, 24],
}


def test_normalisation_and_class_names_are_saved_with_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(make_model(1), path, interface=INTERFACE)
    found = read_weights(path).interface
    assert found is not None
    assert found == ((0.2, 0.3, 0.4), (0.1, 0.2, 0.3), ("cat", "dög"), (16, 24))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"[0.2, 0.3", b"[0.9, 0.3"))
    with pytest.raises(CheckpointError, match="is damaged"):
        read_weights(path)


@pytest.mark.parametrize(
    "change", [{"mean": [0.5]}, {"std": [0, 1, 1]}, {"mean": [10**400] * 3}, {"classes": ["\x1b[2J"]}, {"image_size": [0]}]
)  # fmt: skip
def test_an_impossible_interface_is_refused_by_name(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(make_model(1), path, interface={**INTERFACE, **change})
    with pytest.raises(CheckpointError, match=r"w\.safetensors: its (mean|std|class names|image size)"):
        read_weights(path)


def test_the_same_weights_are_the_same_bytes_each_time(tmp_path):
    """The safetensors library writes metadata in a random order."""
    model = make_model(1)
    contents = set()
    for _ in range(20):
        save_weights(model, tmp_path / "w.safetensors", interface={**INTERFACE, "classes": ["\u00e9"]})
        contents.add((tmp_path / "w.safetensors").read_bytes())
    assert len(contents) == 1


def test_weights_that_two_layers_share_are_saved_under_both_names(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    save_weights(model, tmp_path / "w.safetensors")
    saved = read_weights(tmp_path / "w.safetensors").tensors
    assert torch.equal(saved["0.weight"], model[0].weight)
    assert torch.equal(saved["1.weight"], model[0].weight)
