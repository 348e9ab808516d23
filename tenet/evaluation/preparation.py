"""How test images are prepared for a trained network: normalised, resized and cropped as in its training."""

import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tenet.files.interface import Interface

logger = logging.getLogger("tenet")

# Keys of a data set that say how images are prepared for the network, not which images they are.
NORMALIZATION, RESIZING, UPRIGHT = ("mean", "std"), ("resize", "crop"), "upright"
# The mean and the std of data sets whose configuration leaves them out.
DEFAULT_NORMALIZATION = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Preparation:
    """How images are prepared for the network of a file of weights.

    weights: the file, for messages. saved: the interface that is saved with the weights; None if none is. description:
    what is saved there of the network (see ModelDescription); empty if nothing is.
    dataset, own_dataset: the configurations of the data set and of the one that the network was trained on.
    typed: the keys that the user typed. Only these change how images are prepared: choosing `dataset=OPTION` does not.
    """

    weights: Path
    saved: Interface | None
    description: Mapping[str, Any]
    dataset: Mapping[str, Any]
    own_dataset: Mapping[str, Any] | None
    typed: Container[str]

    @cached_property
    def interface(self) -> Interface:
        """The normalisation that the network gets, and its class names and image size as far as they are known.

        The normalisation is taken from the first of these that has it: the command line, the file of weights, the run's
        configuration, the data set's option. A message says if the first or the last of them decides.
        """
        mean, std = map(self._normalization, NORMALIZATION)
        return (self.saved or Interface(mean, std))._replace(mean=mean, std=std)

    @property
    def dataset_config(self) -> dict[str, Any]:
        """The data set's configuration, with the network's own normalisation, sizes of images and orientation."""
        interface = self.interface
        own = self._described_dataset if self.own_dataset is None else self.own_dataset
        known: dict[str, Any] = {"mean": list(interface.mean), "std": list(interface.std)}
        if self.own_dataset is not None or interface.image_size is not None:
            # A key that the run's data set lacks is None: its training images were not resized.
            known |= {name: own.get(name) for name in RESIZING if name in self.dataset}
        if UPRIGHT in own and UPRIGHT in self.dataset:
            known[UPRIGHT] = own[UPRIGHT]
        return {
            **self.dataset,
            **{name: value for name, value in known.items() if f"dataset.{name}" not in self.typed},
        }

    @property
    def is_own_normalization(self) -> bool:
        """Whether the normalisation is the one that the network was trained with, as far as that is known."""
        trained = {name: self._trained_with(name) for name in NORMALIZATION}
        return all(
            value is None or list(value) == list(getattr(self.interface, name))
            for name, value in trained.items()
        )

    @property
    def _described_dataset(self) -> dict[str, Any]:
        """How the data set that the weights were trained on prepared its images, as far as their file says it."""
        own: dict[str, Any] = {}
        resize, upright = self.description.get(RESIZING[0]), self.description.get(UPRIGHT)
        if type(resize) is int and self.interface.image_size is not None:
            height, width = self.interface.image_size
            own = {"resize": resize, "crop": height if height == width else None}
        if isinstance(upright, bool):
            own[UPRIGHT] = upright
        return own

    def _trained_with(self, name: str) -> Sequence[float] | None:
        """The mean or the std that the network was trained with; None if it is not known."""
        if self.saved is not None:
            return getattr(self.saved, name)
        return (self.own_dataset or {}).get(name)

    def _normalization(self, name: str) -> tuple[float, ...]:
        """The mean or the std; a warning says if it is not, or may not be, the one that the network was trained with."""
        given, trained = tuple(self.dataset.get(name, DEFAULT_NORMALIZATION)), self._trained_with(name)
        is_typed = f"dataset.{name}" in self.typed
        if trained is None:
            if not is_typed:
                logger.warning(
                    "%s does not say how its images are normalised: assuming dataset.%s=%s",
                    self.weights, name, list(given),
                )  # fmt: skip
            return given
        if is_typed and list(given) != list(trained):
            logger.warning(
                "dataset.%s=%s was given; the network was trained with %s", name, list(given), list(trained)
            )
        return given if is_typed else tuple(trained)
