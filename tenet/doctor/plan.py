"""The run that is examined: what it would be made of, and what the checks have learnt of it so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenet.config.build import build
from tenet.doctor.findings import NotExaminedError

if TYPE_CHECKING:
    import torch

    from tenet.data import Splits


@dataclass
class Plan:
    """A run that has not started.

    overrides: as train.py would get them. output: the doctor's own folder. steps: how many to time.
    steps_done: those that an interrupted run has behind it. stands_in: the images are random, because
    the data set is not there. limits: the largest batches for training and evaluation that fit into memory.
    """

    config: dict[str, Any]
    overrides: Sequence[str]
    run_dir: Path
    output: Path
    steps: int = 5
    price_per_hour: float | None = None
    corruptions: Path | None = None
    steps_done: int = 0
    stands_in: bool = False
    limits: tuple[int, int] | None = None
    known_device: "torch.device | None" = None
    known_splits: "Splits | None" = None
    wrong: set[str] = field(default_factory=set)

    def build(self, key: str, *args: Any, **kwargs: Any) -> Any:
        """What the configuration names under `key`. Raises NotExaminedError where that is known to be wrong."""
        return build(self.settings_of(key), *args, key=key, **kwargs)

    def settings_of(self, key: str) -> Any:
        if key in self.wrong:
            raise NotExaminedError(f"{key} must be mended first")
        return self.config[key]

    @property
    def device(self) -> "torch.device":
        if self.known_device is None:
            raise NotExaminedError("there is no device to train on")
        return self.known_device

    @property
    def splits(self) -> "Splits":
        """The images, or stand-ins of their number and size."""
        if self.known_splits is None:
            raise NotExaminedError("the data set must be there first")
        return self.known_splits

    @property
    def nearest_folder(self) -> Path:
        """The run folder, or else the nearest folder above it that is there: the same disk."""
        folder = self.run_dir
        while not folder.is_dir():
            folder = folder.parent
        return folder
