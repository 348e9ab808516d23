"""The suites that a configuration asks for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tenet.corruptions.archive import FolderArchive, open_archive
from tenet.corruptions.generator import GeneratedCorruptions, check_least_size
from tenet.corruptions.source import describe_source
from tenet.data import ImageSource
from tenet.errors import ConfigError, DatasetError
from tenet.evaluation.attack_settings import AttackSettings
from tenet.evaluation.classifier import Classifier
from tenet.evaluation.measures import Measures
from tenet.evaluation.robustbench import Model
from tenet.evaluation.suites.attacks import Attacks
from tenet.evaluation.suites.clean import Clean
from tenet.evaluation.suites.corruptions import CorruptedImages, Corruptions
from tenet.evaluation.suites.multi_label import MultiLabelClean, MultiLabelCorruptions
from tenet.evaluation.suites.natural_shift import NaturalShift
from tenet.evaluation.suites.perturbations import Perturbations
from tenet.evaluation.suites.suite import Suite
from tenet.files.paths import user_path


def build_suites(
    config: Mapping[str, Any],
    test: ImageSource,
    *,
    model: Model,
    device: torch.device,
    classifier: Classifier | None = None,
    build_option: Callable[[ImageSource, Measures], Suite | None] = lambda test, measures: None,
) -> list[Suite]:
    """The suites, in the order in which they are measured and reported.

    test: the clean test images; corruptions are generated from them, on `device`. classifier: what is evaluated, to
    draw attacked images. build_option: builds the suite of the option `suite=`. Raises ConfigError or DatasetError.
    """
    if test.is_multi_label:
        check_multi_label(config, test)
    measures = Measures(classes=test.classes, **config["measures"])
    asked = config["corruptions"]
    images = _open_corruptions(asked, test, device=device)
    is_imagenet_c = isinstance(images, FolderArchive) and len(test.classes) == 1000
    clean, corrupted = (
        (MultiLabelClean, MultiLabelCorruptions) if test.is_multi_label else (Clean, Corruptions)
    )
    corruptions = corrupted(
        images,
        names=asked["names"],
        severities=asked["severities"],
        normalized=asked["normalize"] == "alexnet" or (asked["normalize"] == "auto" and is_imagenet_c),
        source=describe_source(images, test=test),
        clean=test,
        origin={"root": asked["root"]} if asked["root"] else {"seed": asked["seed"]},
        measures=measures,
        model=model,
    )
    suites: list[Suite] = [clean(test, measures), corruptions]
    if config["cifar101"] is not None:
        suites.append(NaturalShift(_folder(config, "cifar101"), measures=measures, size=test.image_size()))
    if config["cifar_p"] is not None:
        suites.append(Perturbations(_folder(config, "cifar_p"), test=test))
    if config["attacks"]["names"]:
        suites.append(
            Attacks(
                test,
                measures,
                settings=AttackSettings(**config["attacks"]),
                model=model,
                classifier=classifier,
            )
        )
    # On the device, where the suite may corrupt the images.
    if (chosen := build_option(test.to(device), measures)) is not None:
        if chosen.name in [suite.name for suite in suites]:
            raise ConfigError(
                f"suite: its name, {chosen.name}, is that of another suite; choose another name"
            )
        suites.append(chosen)
    return suites


def check_multi_label(config: Mapping[str, Any], test: ImageSource) -> None:
    """Raise ConfigError for benchmarks that exist for images with one label alone, DatasetError if no image shows any
    class: there is no average precision then."""
    if not any(test.images_by_class()):
        raise DatasetError("no test image shows any class: none of its labels is 1")
    if config["attacks"]["names"]:
        raise ConfigError(
            "attacks.names: attacks raise the loss of an image's one label, but images of the data set may have several; "
            "leave it out"
        )
    for key, value in {"corruptions.root": config["corruptions"]["root"], **config}.items():
        if key in ("corruptions.root", "cifar101", "cifar_p") and value is not None:
            raise ConfigError(
                f"{key}={value}: its images have one label each, but those of the data set may have several; leave it "
                "out"
            )


def _open_corruptions(
    config: Mapping[str, Any], test: ImageSource, *, device: torch.device
) -> CorruptedImages:
    if config["root"] is not None:
        return open_archive(config["root"], test=test)
    if config["names"] == []:  # clean images alone
        return GeneratedCorruptions(test, seed=config["seed"])
    check_least_size(*test.image_size())
    return GeneratedCorruptions(test.to(device), seed=config["seed"])


def _folder(config: Mapping[str, Any], key: str) -> Path:
    folder = user_path(config[key], key=key)
    if not folder.is_dir():
        raise ConfigError(f"{key}={config[key]} is not a folder")
    return folder
