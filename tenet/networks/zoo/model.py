"""The base class of models that another library builds by name."""

import difflib
import inspect
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tenet.networks.stems import fit_stem_to_small_images

# Arguments that the project sets itself, and those by which a library would read files or return no logits.
RESERVED = (
    "num_classes", "in_chans", "pretrained", "weights", "weights_backbone", "progress",
    "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "features_only", "out_indices",
)  # fmt: skip


class Pretrained(NamedTuple):
    """Published weights under the model's own names, the normalisation and classes that belong to them, and their source."""

    tensors: Mapping[str, Tensor]
    mean: Sequence[float]
    std: Sequence[float]
    classes: Sequence[str]
    source: str


@dataclass(frozen=True)
class ZooModel(ABC):
    """A model of a library by its name there, with further `kwargs` of its constructor.

    is_pretrained: whether its published weights are wanted. Building it neither reads nor downloads them.
    """

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    is_pretrained: bool = False

    library = ""

    @abstractmethod
    def names(self) -> Sequence[str]:
        """All names of the library."""

    @abstractmethod
    def construct(self, **kwargs: Any) -> nn.Module:
        """Call the library."""

    @abstractmethod
    def normalization(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """Mean and std that the published weights of this name expect; None if there are none."""

    @abstractmethod
    def download(self) -> Pretrained:
        """The published weights. If they can't be downloaded, raises ValueError with the file to get and its place."""

    def build(self, num_classes: int, *, stem: str | None) -> nn.Module:
        """The model with random weights. Raises ValueError for an unknown name and for refused `kwargs`."""
        self.check_name()
        for key in self.kwargs:
            if key in RESERVED:
                raise ValueError(
                    f"kwargs.{key}={self.kwargs[key]} can't be given: the project sets it, or it names a file"
                )
        with self._explain():
            model = self._construct_on_any_device(num_classes=num_classes)
        if stem == "cifar":
            fit_stem_to_small_images(model, name=self.name)
        vars(model).update(zoo=self, architecture=self.name)
        return model

    def check_name(self) -> None:
        base = self.name.partition(".")[0]
        if base not in self.names():
            near = difflib.get_close_matches(base, self.names(), n=5, cutoff=0.5)
            hint = f"; similar ones: {', '.join(near)}" if near else ""
            raise ValueError(f"name={self.name} is no model of {self.library}{hint}")

    def _construct_on_any_device(self, **kwargs: Any) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # on defaults that will change
            try:
                return self.construct(**self.kwargs, **kwargs)
            except NotImplementedError:  # some compute with tensors, which have no values on the meta device
                device = torch.empty(0).device
                with torch.device("cpu"):
                    return self.construct(**self.kwargs, **kwargs).to(device)

    @contextmanager
    def _explain(self) -> Iterator[None]:
        """Turn what a constructor raises into a ValueError of one line."""
        try:
            yield
        except Exception as error:  # constructors refuse with TypeError, AssertionError, KeyError, ...
            found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            if found is None or found[1] not in self.kwargs:
                raise ValueError(
                    f"kwargs={dict(self.kwargs)}: {self.library} can't build {self.name} ({what})"
                ) from error
            near = difflib.get_close_matches(found[1], self._arguments(), n=3)
            hint = f"; similar ones: {', '.join(near)}" if near else ""
            raise ValueError(
                f"kwargs.{found[1]}={self.kwargs[found[1]]}: this is no argument of {self.library}'s {self.name}{hint}"
            ) from error

    def _arguments(self) -> list[str]:
        with torch.device("meta"):
            plain = type(self)(self.name)._construct_on_any_device(num_classes=2)
        return list(inspect.signature(type(plain).__init__).parameters)

    @property
    def image_size(self) -> int | None:
        """The side of the images that `kwargs` ask for; None if they do not."""
        for key in ("img_size", "image_size", "input_size"):
            size = self.kwargs.get(key)
            size = size[-1] if isinstance(size, list | tuple) and size else size
            if isinstance(size, int):
                return size
        return None
