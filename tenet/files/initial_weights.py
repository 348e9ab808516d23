"""Initial weights of a network from a file: all of them, or all but the last layer if the classes are others."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from tenet.errors import CheckpointError
from tenet.files.state_dicts import find_state_dict
from tenet.files.weights import SavedWeights

logger = logging.getLogger("tenet")

# Two numbers of classes: weights whose shapes differ are the last layer's.
FEW, MORE = 2, 3
MAX_TRIES = 6


class InitialWeights(NamedTuple):
    """Weights by the model's names. head: those of the last layer, of `num_classes` classes."""

    saved: SavedWeights
    weights: Mapping[str, Tensor]
    head: Sequence[str]
    num_classes: int

    def load(self, model: nn.Module, *, classes: Sequence[str]) -> None:
        """Load into a model for these classes. If the file's are others, the model keeps its last layer, and a message
        says so."""
        known = self.saved.interface.classes if self.saved.interface else ()
        if self.num_classes == len(classes) and known in ((), tuple(classes)):
            model.load_state_dict(self.weights, strict=False)  # old files lack counters
            logger.info("initial weights: %s", self.saved.path)
            return
        body = {name: tensor for name, tensor in self.weights.items() if name not in self.head}
        model.load_state_dict(body, strict=False)
        logger.info(
            "initial weights: %s; its %d classes are not the %d of the data set, so the last layer starts at random (%s)",
            self.saved.path, self.num_classes, len(classes), ", ".join(self.head),
        )  # fmt: skip


def fit_initial_weights(
    saved: SavedWeights, build_outline: Callable[[int], nn.Module], *, key: str | None = None
) -> InitialWeights:
    """Find the weights of a model in a file, whatever the number of its classes.

    build_outline: builds the model for a number of classes. key: where in the file the weights are, such as
    `model_ema`. Raises CheckpointError if a weight is missing, unexpected or misshapen.
    """
    few, more = (build_outline(count).state_dict() for count in (FEW, MORE))
    head = [name for name, tensor in few.items() if tensor.shape != more[name].shape]
    first_error: CheckpointError | None = None
    for num_classes in _class_counts(saved.tensors, few, more) or [FEW]:
        try:
            outline = build_outline(num_classes)
            found = find_state_dict(
                outline, saved.tensors, path=saved.path, key=key, known=saved.normalization
            )
        except CheckpointError as error:
            first_error = first_error or error
            continue
        weights = {name: tensor for name, tensor in found.items() if not tensor.is_meta}
        return InitialWeights(saved, weights, head, num_classes)
    assert first_error is not None
    raise first_error


def _class_counts(
    tensors: Mapping[str, Tensor], few: Mapping[str, Tensor], more: Mapping[str, Tensor]
) -> list[int]:
    """How many classes the file may have: the lengths of its tensors where the last layer's have the classes.

    Tensors with the names of the last layer's come first, then others of their shape, the last one first.
    """
    named: list[int] = []
    shaped: list[int] = []
    for name, tensor in few.items():
        axes = [axis for axis, length in enumerate(tensor.shape) if length != more[name].shape[axis]]
        if not axes or tensor.ndim < 2:
            continue
        for other_name, other in reversed([*tensors.items()]):
            lengths = enumerate(other.shape)
            if other.ndim == tensor.ndim and all(
                n == tensor.shape[axis] or axis in axes for axis, n in lengths
            ):
                (named if other_name.endswith(name) else shaped).append(other.shape[axes[0]])
    return [*dict.fromkeys([*named, *shaped])][:MAX_TRIES]
