"""The base class of mixings, which change the images of a batch together."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from tenet.methods.method import Batch


class DataFacts(NamedTuple):
    """What a mixing needs to know of the data.

    num_classes: the length of soft targets. mean: the colour that normalisation turns into 0, in [0, 1].
    """

    num_classes: int
    mean: tuple[float, ...]


class Mixing(ABC):
    """A change of a whole batch, after its images were augmented one by one.

    Every draw comes from `batch.draw`, so that resuming is exact.
    """

    overlaps: tuple[str, ...] = ()
    """The benchmark's corruptions that the mixing shows the network in training."""
    picture_source: str = ""
    """Where the pictures that it mixes into the images come from, for reports; empty if it mixes none."""
    mixes_labels = False
    """Whether a mixed sample has shares of several classes."""
    is_alike_in_views = True
    """Whether all views of a sample change alike: the first view is then a mixture of clean images only."""

    @abstractmethod
    def mix(self, batch: Batch, facts: DataFacts) -> Batch:
        """Return the mixed batch."""


def with_targets(batch: Batch, images: Tensor, *, partner: Tensor, share: Tensor, num_classes: int) -> Batch:
    """The batch with mixed `images`; each sample has shares of its own class and of its partner's.

    partner: int64 [batch], the other sample's position. share: scalar in [0, 1], the sample's own part.
    The mixed sample's label is that of the larger part, its own where both are equal.
    """
    other = batch.labels[partner]
    targets = share * one_hot(batch, num_classes) + (1 - share) * one_hot(batch, num_classes)[partner]
    labels = torch.where(share >= 0.5, batch.labels, other)
    return replace(batch, images=images, labels=labels, targets=targets)


def one_hot(batch: Batch, num_classes: int) -> Float[Tensor, "batch class"]:
    """The targets of a batch; if it has only labels, their one-hot vectors."""
    if batch.targets is not None:
        return batch.targets
    return F.one_hot(batch.labels, num_classes).float()


def of_views(partner: Int64[Tensor, " batch"], views: int) -> Int64[Tensor, " views_batch"]:
    """Positions in the images of all views: each view's sample meets the same view of its partner."""
    starts = len(partner) * torch.arange(views, device=partner.device)
    return (starts[:, None] + partner).flatten()


def draw_beta(alpha: float, *, generator: torch.Generator) -> Float[Tensor, ""]:
    """One draw of Beta(alpha, alpha)."""
    # torch.distributions takes no generator; this is the sampler that it calls. Beta is a Dirichlet of two parameters.
    pair = torch._sample_dirichlet(torch.full((1, 2), alpha, device=generator.device), generator)
    return pair[0, 0]
