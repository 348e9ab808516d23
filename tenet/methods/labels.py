"""The kinds of labels, one class or any number of classes for each sample, and what depends on them in inhibited updates."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int8, Int64
from torch import Tensor
from torch.nn import functional as F

from tenet.inhibition.checks import check_labels

PRESENT, ABSENT, NOT_COUNTED = 1, 0, -1
"""The values of multi-label labels. NOT_COUNTED is for objects that are too difficult to recognise, as in Pascal VOC."""


class LabelKind(ABC):
    """The parts of an inhibited update that depend on the kind of label.

    labels, correct: of one batch; the labels, and which of the plain update's predictions were right (see `Update`).
    """

    is_multi_label: bool

    @abstractmethod
    def decisive(self, labels: Tensor, correct: Tensor) -> Tensor:
        """The labels whose evidence an inhibited update damps, as `scores` takes them: first axis batch."""

    @abstractmethod
    def chosen(self, labels: Tensor, correct: Tensor) -> Bool[Tensor, " batch"]:
        """The samples that an inhibited update trains on."""

    @abstractmethod
    def scores(self, logits: Float[Tensor, "batch class"], decisive: Tensor) -> Float[Tensor, " batch"]:
        """For each sample, the sum of the sigmoids of its decisive labels' logits: the score that importance refers to."""

    @abstractmethod
    def loss(self, logits: Float[Tensor, "batch class"], targets: Tensor) -> Float[Tensor, ""]:
        """The mean over samples of the loss that an inhibited update minimises."""

    @abstractmethod
    def predicted(self, logits: Float[Tensor, "batch class"]) -> Tensor:
        """The predicted classes, in the form of labels."""


class SingleLabel(LabelKind):
    """One class a sample: int64 [batch]. The prediction is the class with the highest logit."""

    is_multi_label = False

    def decisive(
        self, labels: Int64[Tensor, " batch"], correct: Bool[Tensor, " batch"]
    ) -> Int64[Tensor, " batch"]:
        return labels

    def chosen(
        self, labels: Int64[Tensor, " batch"], correct: Bool[Tensor, " batch"]
    ) -> Bool[Tensor, " batch"]:
        return correct

    def scores(
        self, logits: Float[Tensor, "batch class"], decisive: Int64[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """Raises ValueError, on the CPU, for a label that is none of the classes."""
        check_labels(decisive, logits.shape[1])
        return logits.gather(1, decisive[:, None]).sigmoid().squeeze(1)

    def loss(self, logits: Float[Tensor, "batch class"], targets: Tensor) -> Float[Tensor, ""]:
        """targets: the labels, or float [batch, class], the shares of the classes."""
        return F.cross_entropy(logits, targets)

    def predicted(self, logits: Float[Tensor, "batch class"]) -> Int64[Tensor, " batch"]:
        return logits.argmax(dim=1)


class MultiLabel(LabelKind):
    """Any number of classes a sample: int8 [batch, class], PRESENT, ABSENT or NOT_COUNTED.

    A class is predicted as present if its logit is above 0. Right labels are present classes that were predicted.

    count_difficult: count the entries that are NOT_COUNTED, as absent classes.
    """

    is_multi_label = True

    def __init__(self, *, count_difficult: bool = False) -> None:
        self.count_difficult = count_difficult

    def counted(self, labels: Int8[Tensor, "batch class"]) -> Bool[Tensor, "batch class"]:
        return torch.ones_like(labels, dtype=torch.bool) if self.count_difficult else labels != NOT_COUNTED

    def is_correct(
        self, logits: Float[Tensor, "batch class"], labels: Int8[Tensor, "batch class"]
    ) -> Bool[Tensor, "batch class"]:
        return (logits > 0) == (labels == PRESENT)

    def decisive(
        self, labels: Int8[Tensor, "batch class"], correct: Bool[Tensor, "batch class"]
    ) -> Bool[Tensor, "batch class"]:
        return correct & (labels == PRESENT)

    def chosen(
        self, labels: Int8[Tensor, "batch class"], correct: Bool[Tensor, "batch class"]
    ) -> Bool[Tensor, " batch"]:
        return self.decisive(labels, correct).any(dim=1)

    def scores(
        self, logits: Float[Tensor, "batch class"], decisive: Bool[Tensor, "batch class"]
    ) -> Float[Tensor, " batch"]:
        return (logits.sigmoid() * decisive).sum(dim=1)

    def losses(
        self, logits: Float[Tensor, "*view batch class"], labels: Int8[Tensor, "batch class"]
    ) -> Float[Tensor, "*view batch class"]:
        """The binary cross-entropy of every entry, 0 where it does not count."""
        targets = (labels == PRESENT).to(logits.dtype).expand_as(logits)
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * self.counted(labels)

    def loss(
        self, logits: Float[Tensor, "batch class"], targets: Int8[Tensor, "batch class"]
    ) -> Float[Tensor, ""]:
        """Every sample weighs the same: its loss is the mean over its entries that count. targets: the labels."""
        counts = self.counted(targets).sum(dim=1).clamp(min=1)
        return (self.losses(logits, targets).sum(dim=1) / counts).mean()

    def predicted(self, logits: Float[Tensor, "batch class"]) -> Int8[Tensor, "batch class"]:
        return (logits > 0).to(torch.int8)


SINGLE_LABEL = SingleLabel()
