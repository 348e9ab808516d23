"""CIFAR-P: short videos of small perturbations, and how often a prediction flips along them."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from torch import Tensor

from tenet.errors import DatasetError
from tenet.files.arrays import open_npy

PERTURBATIONS = (
    "gaussian_noise",
    "shot_noise",
    "motion_blur",
    "zoom_blur",
    "spatter",
    "brightness",
    "translate",
    "rotate",
    "tilt",
    "scale",
)
"""The 10 of the mean flip probability, as in github.com/hendrycks/robustness, ImageNet-P/cifar-p-eval.py.

On ImageNet-P snow stands where CIFAR-P has spatter.
"""

EXTRA_PERTURBATIONS = (
    "speckle_noise",
    "gaussian_blur",
    "snow",
    "shear",
    "gaussian_noise_2",
    "gaussian_noise_3",
    "shot_noise_2",
    "shot_noise_3",
    "speckle_noise_2",
    "speckle_noise_3",
)
"""The others of the archive, among them stronger noise (_2, _3): never part of the mean."""


class PerturbationArchive:
    """A folder of `<perturbation>.npy` uint8 [n, frames, h, w, 3]: n videos, the same images in each file.

    The frames differ in number between perturbations (31, 21 or 16 in the official archives).
    The files stay on disk: what is handed out is a memory map. Nothing in a file is ever unpickled.
    Raises DatasetError, naming the file, the rule and the remedy, when the folder does not hold that
    layout. Layout: github.com/hendrycks/robustness, make_cifar_p.py.
    """

    def __init__(self, root: str | PathLike[str]) -> None:
        self.root = Path(root)
        known = PERTURBATIONS + EXTRA_PERTURBATIONS
        present = [name for name in known if (self.root / f"{name}.npy").is_file()]
        if not present:
            raise DatasetError(
                f"{self.root} holds no <perturbation>.npy; unpack the official archive there, or point to "
                f"the folder that holds {known[0]}.npy"
            )
        self._sequences = {name: _read_sequences(self.root / f"{name}.npy") for name in present}
        self._check_numbers()

    @property
    def names(self) -> tuple[str, ...]:
        """The perturbations present, those of the mean first, in the canonical order."""
        return tuple(self._sequences)

    def sequences(self, name: str) -> np.ndarray:
        """uint8 [n, frames, h, w, 3], a read-only view of the file: copy the part that is made a tensor."""
        known = PERTURBATIONS + EXTRA_PERTURBATIONS
        if name not in known:
            nearest = get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"perturbation={name!r} is unknown; did you mean {nearest!r}? Choose from {', '.join(known)}"
            )
        if name not in self._sequences:
            raise DatasetError(
                f"{self.root / name}.npy is missing; present are {', '.join(self.names)}. "
                "Unpack the whole archive, or leave this perturbation out"
            )
        return self._sequences[name]

    def _check_numbers(self) -> None:
        first = self.names[0]
        expected = len(self._sequences[first])
        for name, sequences in self._sequences.items():
            if len(sequences) != expected:
                raise DatasetError(
                    f"{self.root / name}.npy holds {len(sequences)} videos but {first}.npy {expected}; all "
                    "files need the same images: download again the one that differs"
                )


def is_noise(perturbation: str) -> bool:
    """Whether each frame is the image with noise drawn anew, rather than a step on from the frame before."""
    return "noise" in perturbation


def flip_probability(predictions: Int64[Tensor, "sequence frame"], *, noise: bool) -> float:
    """How often a frame's predicted class differs from the one before it, in [0, 1].

    With `noise`, from that of the first frame, which is clean: frames of noise have no order.
    Raises ValueError without sequences or with fewer than two frames.
    Source: Hendrycks and Dietterich 2019 (arXiv 1903.12261), the flip probability of ImageNet-P.
    """
    if predictions.shape[0] < 1 or predictions.shape[1] < 2:
        raise ValueError(
            f"predictions of shape {list(predictions.shape)} can't flip; at least one sequence of two frames "
            "is needed"
        )
    reference = predictions[:, :1] if noise else predictions[:, :-1]
    return (predictions[:, 1:] != reference).double().mean().item()


def mean_flip_probability(
    probabilities: Mapping[str, float], perturbations: Sequence[str] = PERTURBATIONS
) -> float | None:
    """Plain mean over `perturbations`; None if one of them was not measured.

    The mFP of CIFAR-P, as the benchmark's cifar-p-eval.py and AugMix (arXiv 1912.02781) report it:
    unlike the mFR of ImageNet-P, not a rate relative to AlexNet's flips.
    """
    if not perturbations or any(name not in probabilities for name in perturbations):
        return None
    return sum(probabilities[name] for name in perturbations) / len(perturbations)


def _read_sequences(path: Path) -> np.ndarray:
    sequences = open_npy(path, remedy="download it again")
    if sequences.dtype != np.uint8 or sequences.ndim != 5 or sequences.shape[-1] != 3:
        raise DatasetError(
            f"{path} holds {sequences.dtype} {list(sequences.shape)}, not uint8 [n, frames, h, w, 3]; take "
            "the official file, or convert yours"
        )
    if sequences.shape[0] < 1 or sequences.shape[1] < 2:
        raise DatasetError(
            f"{path} holds {sequences.shape[0]} videos of {sequences.shape[1]} frames; at least one video of "
            "two frames is needed: download it again"
        )
    return sequences
