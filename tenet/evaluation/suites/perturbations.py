"""CIFAR-P: short videos of small perturbations, and how often a prediction flips along them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from tenet.corruptions.source import files_fingerprint
from tenet.data import ImageSource, MappedImages
from tenet.errors import DatasetError
from tenet.evaluation.measures import AnyPredictions, Predictions
from tenet.evaluation.metrics import mean
from tenet.evaluation.suites.suite import Cell, Suite, Summary
from tenet.files.arrays import open_npy

PERTURBATIONS = (
    "gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "spatter",
    "brightness", "translate", "rotate", "tilt", "scale",
)  # fmt: skip
"""The 10 of the mean flip probability, as in github.com/hendrycks/robustness, ImageNet-P/cifar-p-eval.py.

ImageNet-P has snow in place of CIFAR-P's spatter.
"""

EXTRA_PERTURBATIONS = (
    "speckle_noise", "gaussian_blur", "snow", "shear", "gaussian_noise_2",
    "gaussian_noise_3", "shot_noise_2", "shot_noise_3", "speckle_noise_2", "speckle_noise_3",
)  # fmt: skip
"""The others of the archive, with stronger noise (_2, _3) among them: never part of the mean."""


class Perturbations(Suite):
    """The files `<perturbation>.npy` in the folder `root`, uint8 [n, frames, h, w, 3]: n videos of the same images.

    The number of frames differs between perturbations: 31, 21 or 16 in the official archives. The videos stay on
    disk. Nothing in a file is ever unpickled. Layout: github.com/hendrycks/robustness, make_cifar_p.py.
    test: the clean test images, of which the videos are: of the same size, and not more.
    Raises DatasetError, with the file, the rule and the remedy, if the folder does not have that layout.
    """

    name = "perturbations"

    def __init__(self, root: Path, *, test: ImageSource | None = None) -> None:
        known = PERTURBATIONS + EXTRA_PERTURBATIONS
        paths = {name: root / f"{name}.npy" for name in known if (root / f"{name}.npy").is_file()}
        if not paths:
            raise DatasetError(
                f"{root} holds no <perturbation>.npy; unpack the official archive there, or point to "
                f"the folder that holds {known[0]}.npy"
            )
        self.paths = paths
        """By perturbation: those of the mean first, in the canonical order."""
        self.videos = {name: _read_videos(path) for name, path in paths.items()}
        first = next(iter(paths))
        for name, videos in self.videos.items():
            if len(videos) != len(self.videos[first]):
                raise DatasetError(
                    f"{paths[name]} holds {len(videos)} videos but {first}.npy {len(self.videos[first])}; all files "
                    "need the same images: download again the one that differs"
                )
        self.test_images = len(self.videos[first]) if test is None else len(test)
        if test is not None:
            for name, videos in self.videos.items():
                check_fits(paths[name], videos, test)

    def cells(self) -> Iterator[Cell]:
        for name, videos in self.videos.items():
            # Flips need no labels.
            labels = torch.zeros(videos.shape[0] * videos.shape[1], dtype=torch.int64)
            yield Cell(f"perturbation/{name}", MappedImages(self.paths[name], videos, labels))

    def __len__(self) -> int:
        return len(self.videos)

    def measured(self) -> Mapping[str, Any]:
        return {name: files_fingerprint([path], root=path.parent) for name, path in self.paths.items()}

    def cell_names(self) -> list[str]:
        return [f"perturbation/{name}" for name in self.videos]

    def summarize(self, predictions: Mapping[str, AnyPredictions]) -> Summary:
        flips = {name: self._flips(name, predictions[f"perturbation/{name}"]) for name in self.videos}
        flip_pct = {name: 100 * probability for name, probability in flips.items()}
        metrics = {f"perturbation/{name}/flip_pct": value for name, value in flip_pct.items()}
        mean_pct = None
        if set(PERTURBATIONS) <= set(flips):
            mean_pct = 100 * mean([flips[name] for name in PERTURBATIONS])
            metrics["perturbation/mean_flip_pct"] = mean_pct
            lines = [f"CIFAR-P mean flip probability {mean_pct:.2f} %"]
        else:
            missing = [name for name in PERTURBATIONS if name not in flips]
            each = ", ".join(f"{name} {value:.2f} %" for name, value in flip_pct.items())
            lines = [f"CIFAR-P flip probability {each}", f"no CIFAR-P mean: {', '.join(missing)} missing"]
        if (videos := len(next(iter(self.videos.values())))) < self.test_images:
            lines.append(f"CIFAR-P videos of {videos:,} of the {self.test_images:,} test images")
        content = {"perturbations": {"mean_flip_pct": mean_pct, "flip_pct": flip_pct}}
        return Summary(content=content, metrics=metrics, lines=lines)

    def describe(self, cell_name: str, predictions: AnyPredictions) -> str:
        probability = self._flips(cell_name.removeprefix("perturbation/"), predictions)
        return f"{cell_name}: flips {100 * probability:.2f} %"

    def _flips(self, name: str, predictions: AnyPredictions) -> float:
        assert isinstance(predictions, Predictions)  # the videos' labels are placeholders
        by_video = predictions.predicted.unflatten(0, self.videos[name].shape[:2])
        return flip_probability(by_video, noise=is_noise(name))


def is_noise(perturbation: str) -> bool:
    """Whether each frame is the image with noise of its own; other frames each move a step from the one before."""
    return "noise" in perturbation


def flip_probability(predictions: Int64[Tensor, "video frame"], *, noise: bool) -> float:
    """How often a frame's predicted class differs from that of the frame before it, in [0, 1].

    With `noise` it is compared with the first frame, which is clean: frames of noise have no order.
    Source: Hendrycks and Dietterich 2019 (arXiv 1903.12261), the flip probability of ImageNet-P. Its plain mean over
    the perturbations is the mFP that the benchmark's cifar-p-eval.py and AugMix (arXiv 1912.02781) report; unlike
    the mFR of ImageNet-P, it is not relative to AlexNet's flips.
    """
    reference = predictions[:, :1] if noise else predictions[:, :-1]
    return (predictions[:, 1:] != reference).double().mean().item()


def check_fits(path: Path, videos: np.ndarray, test: ImageSource) -> None:
    """Raise DatasetError if the videos can't be of these test images."""
    height, width = test.image_size()
    if videos.shape[2:4] != (height, width):
        raise DatasetError(
            f"{path} holds frames of {videos.shape[3]} x {videos.shape[2]} pixels, but the data set's images are "
            f"{width} x {height}; is this the archive of another data set?"
        )
    if len(videos) > len(test):
        raise DatasetError(
            f"{path} holds {len(videos)} videos, but the data set has {len(test)} test images; is this the archive of "
            "another data set?"
        )


def _read_videos(path: Path) -> np.ndarray:
    videos = open_npy(path, remedy="download it again")
    if videos.dtype != np.uint8 or videos.ndim != 5 or videos.shape[-1] != 3:
        raise DatasetError(
            f"{path} holds {videos.dtype} {list(videos.shape)}, not uint8 [n, frames, h, w, 3]; take "
            "the official file, or convert yours"
        )
    if videos.shape[0] < 1 or videos.shape[1] < 2:
        raise DatasetError(
            f"{path} holds {videos.shape[0]} videos of {videos.shape[1]} frames; at least one video of "
            "two frames is needed: download it again"
        )
    return videos
