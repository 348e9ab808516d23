"""The suites that a configuration asks for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tenet.corruptions.archive import FolderArchive, open_archive
from tenet.corruptions.generator import GeneratedCorruptions, check_least_size
from tenet.corruptions.source import describe_source
from tenet.data import ImageArrays, ImageSource
from tenet.errors import ConfigError
from tenet.evaluation.measures import Measures
from tenet.evaluation.robustbench import Model
from tenet.evaluation.suites.clean import Clean
from tenet.evaluation.suites.corruptions import CorruptedImages, Corruptions
from tenet.evaluation.suites.natural_shift import NaturalShift
from tenet.evaluation.suites.perturbations import Perturbations
from tenet.evaluation.suites.suite import Suite
from tenet.files.paths import user_path


def build_suites(
    config: Mapping[str, Any], test: ImageSource, *, model: Model, device: torch.device
) -> list[Suite]:
    """The suites, in the order in which they are measured and reported.

    test: the clean test images; corruptions are generated from them, on `device`. Raises ConfigError or DatasetError.
    """
    measures = Measures(classes=test.classes, **config["measures"])
    asked = config["corruptions"]
    images = _open_corruptions(asked, test, device=device)
    is_imagenet_c = isinstance(images, FolderArchive) and len(test.classes) == 1000
    corruptions = Corruptions(
        images,
        names=asked["names"],
        severities=asked["severities"],
        normalized=asked["normalize"] == "alexnet" or (asked["normalize"] == "auto" and is_imagenet_c),
        source=describe_source(images, test=test),
        origin={"root": asked["root"]} if asked["root"] else {"seed": asked["seed"]},
        measures=measures,
        model=model,
    )
    suites: list[Suite] = [Clean(test, measures), corruptions]
    if config["cifar101"] is not None:
        suites.append(NaturalShift(_folder(config, "cifar101"), measures=measures, size=test.image_size()))
    if config["cifar_p"] is not None:
        suites.append(Perturbations(_folder(config, "cifar_p"), test=test))
    return suites


def _open_corruptions(
    config: Mapping[str, Any], test: ImageSource, *, device: torch.device
) -> CorruptedImages:
    if config["root"] is not None:
        return open_archive(config["root"], test=test)
    if config["names"] == []:  # clean images alone
        return GeneratedCorruptions(test, seed=config["seed"])
    if not isinstance(test, ImageArrays):
        raise ConfigError(
            "dataset=folder streams its images: give corruptions.root=DIR (ImageNet-C) with it, or "
            "corruptions.names=[] to measure the clean images alone"
        )
    check_least_size(test.images)
    return GeneratedCorruptions(test.to(device), seed=config["seed"])


def _folder(config: Mapping[str, Any], key: str) -> Path:
    folder = user_path(config[key], key=key)
    if not folder.is_dir():
        raise ConfigError(f"{key}={config[key]} is not a folder")
    return folder
