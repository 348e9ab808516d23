"""Trained networks from a folder or a file, in one line: `tenet.load`."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tenet.config.build import INITIAL_WEIGHTS, build
from tenet.config.rules import check_rules
from tenet.config.run_config import read_config
from tenet.errors import CheckpointError, ConfigError
from tenet.evaluation.preparation import UPRIGHT
from tenet.experiment import build_backbone
from tenet.files.names import AVERAGED_KEY, AVERAGED_WEIGHTS_FILE
from tenet.files.paths import user_path
from tenet.files.weights import load_weights, read_weights
from tenet.networks import Network
from tenet.run.weights import find_weights


class ModelDescription(NamedTuple):
    """How a trained network is built, and what its predictions are: saved with its weights.

    backbone: its configuration. resize: the shorter side that test images are scaled to before their central part is
    cut out; None: that of the network's images. layer, groups: where and in how many groups it was inhibited; None for
    a plain run. multi_label: whether an image may have several classes. upright: whether test images are turned first, as
    their EXIF orientation says.
    """

    backbone: Mapping[str, Any]
    resize: int | None = None
    layer: str | None = None
    groups: int | None = None
    multi_label: bool = False
    upright: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ModelDescription":
        """That of a run's configuration, without its initial weights: the trained ones replace them."""
        backbone = {name: value for name, value in config["backbone"].items() if name not in INITIAL_WEIGHTS}
        labels = build(config["objective"], key="objective").labels
        dataset, inhibition = config["dataset"], config["tenet"]
        return cls(
            backbone,
            dataset.get("resize"),
            inhibition.get("layer"),
            inhibition.get("groups"),
            labels.is_multi_label,
            dataset.get(UPRIGHT, False),
        )

    @classmethod
    def from_plain(cls, value: object) -> "ModelDescription":
        """Check what was read from a file. Raises ConfigError for a value that its class refuses, and ValueError if it is
        no such mapping."""
        if not isinstance(value, Mapping) or not isinstance(value.get("backbone"), Mapping):
            raise ValueError("it does not say how its network is built")
        known = cls(**{name: value[name] for name in cls._fields if name in value})
        kinds = {
            "resize": int | None,
            "layer": str | None,
            "groups": int | None,
            "multi_label": bool,
            "upright": bool,
        }
        if wrong := [name for name, kind in kinds.items() if not isinstance(getattr(known, name), kind)]:
            raise ValueError(f"its description of the network has a wrong {wrong[0]}")
        check_rules({"backbone": known.backbone})
        return known


class TrainedModel(NamedTuple):
    """A network with its weights, in eval mode, and how it was built. weights: the file."""

    network: Network
    description: ModelDescription
    weights: Path


def load(
    source: str | PathLike[str], *, weights_key: str | None = None, device: str | torch.device = "cpu"
) -> Network:
    """The trained network of a folder or a file, in eval mode: it maps images in [0, 1], [batch, 3, h, w], to logits.

    source: a run folder, a published folder (`python -m tenet.publish`), or a .safetensors file that train.py or
        tenet.publish wrote. Class names and image size are in `Network.interface`.
    weights_key: model_ema for the averaged weights of a run folder.
    Nothing in the folder or the file is executed. Raises ConfigError or CheckpointError, with the remedy.
    """
    return load_model(source, weights_key=weights_key, device=device).network


def load_model(
    source: str | PathLike[str],
    *,
    weights_key: str | None = None,
    device: str | torch.device = "cpu",
) -> TrainedModel:
    """As `load`, with the description."""
    path = user_path(source, key="source")
    if not path.exists():
        raise ConfigError(
            f"{path} does not exist; give a run folder, a published folder or a .safetensors file"
        )
    config = read_config(path) if path.is_dir() else None
    weights = path if config is None else find_weights(path, averaged=weights_key == AVERAGED_KEY)
    saved = read_weights(weights)
    if saved.interface is None or not saved.interface.classes:
        raise CheckpointError(
            f"{weights} does not name its classes, so it is not train.py's; measure it by evaluate.py "
            "(weights=FILE backbone=OPTION dataset=OPTION)"
        )
    try:
        description = (
            ModelDescription.from_plain(saved.model)
            if config is None
            else ModelDescription.from_config(config)
        )
    except ValueError as error:
        raise CheckpointError(f"{weights}: {error}; give its run folder instead") from error
    backbone = build_backbone(description.backbone, num_classes=len(saved.interface.classes))
    load_weights(backbone, saved, key=None if weights.name == AVERAGED_WEIGHTS_FILE else weights_key)
    network = Network(backbone, **saved.interface._asdict())
    return TrainedModel(network.to(device).eval(), description, weights)
