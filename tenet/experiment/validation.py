"""Corrupted images to choose by: of the held-out part of the training set, under corruptions that no benchmark measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch

from tenet.config.rules import did_you_mean
from tenet.corruptions.generator import GeneratedCorruptions
from tenet.corruptions.names import BAR_CORRUPTIONS, CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, bar_names
from tenet.corruptions.parameters import LEAST_BAR_SIZE
from tenet.data import ImageArrays, ImageSource
from tenet.errors import ConfigError
from tenet.rules import at_least, at_most, check_arguments

SETS = ("extra", "c_bar")
AT_ONCE = 250  # images that are read at a time


@dataclass(frozen=True, kw_only=True)
class CorruptedValidation:
    """Settings of the group `validation`.

    corruptions: names, or one of SETS: the 4 extra ones, and the ten of the C-bar benchmark for the size of the images.
    images: how many of the held-out ones, evenly spaced.
    Raises ValueError for an unknown name, and for one of the benchmark's 15: a model that is chosen by them has been fitted
    to the test.
    """

    corruptions: Sequence[str] | None = None
    severities: Sequence[Annotated[int, at_least(1), at_most(5)]] = SEVERITIES
    images: Annotated[int, at_least(1)] = 1000

    def __post_init__(self) -> None:
        check_arguments(CorruptedValidation.__init__, vars(self))
        choices = (*SETS, *EXTRA_CORRUPTIONS, *BAR_CORRUPTIONS)
        for name in self.corruptions or ():
            if name in CORRUPTIONS:
                raise ValueError(
                    f"corruptions={name}: one of the 15 of the benchmark, so the mCE of what is chosen by it would no "
                    f"longer be a test; choose from {', '.join(choices)}"
                )
            if name not in choices:
                raise ValueError(
                    f"corruptions={name}: unknown{did_you_mean(name, choices)}; choose from {', '.join(choices)}"
                )
        if not self.severities:
            raise ValueError("severities=[]: name at least one, from 1 to 5")

    def names(self, size: int) -> tuple[str, ...]:
        """The corruptions, without those that occur twice. size: of the images' shorter side.

        Raises ConfigError for a corruption that is defined for images of another size.
        """
        own = bar_names(size)
        sets = {"extra": EXTRA_CORRUPTIONS, "c_bar": own}
        names = [name for each in self.corruptions or () for name in sets.get(each, (each,))]
        for name in names:
            if name in BAR_CORRUPTIONS and (name not in own or size < LEAST_BAR_SIZE):
                raise ConfigError(
                    f"validation.corruptions={name}: not defined for images of {size} pixels; choose from extra"
                    + (f", {', '.join(own)}" if size >= LEAST_BAR_SIZE else "")
                )
        return tuple(dict.fromkeys(names))

    def cells(self, held_out: ImageSource, *, device: torch.device) -> Mapping[str, Sequence[ImageSource]]:
        """By corruption, its images at each severity, corrupted on the device when they are read.

        The clean images are read here, once. The noise depends on the image alone: it is the same at every evaluation, in
        every run and for any number of processes.
        """
        names = self.names(min(held_out.image_size()))
        count = min(self.images, len(held_out))
        ids = torch.arange(count) * len(held_out) // count
        images = torch.cat([batch.images.cpu() for batch in held_out.batches(ids.split(AT_ONCE))])
        clean = ImageArrays(images, held_out.labels[ids].cpu(), held_out.classes).to(device)
        generated = GeneratedCorruptions(clean)
        return {
            name: [generated.cell(name, level) for level in sorted(set(self.severities))] for name in names
        }
