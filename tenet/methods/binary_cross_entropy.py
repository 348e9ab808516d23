"""Standard training where an image may show several classes."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from tenet.methods.labels import MultiLabel
from tenet.methods.method import Batch, Method, Update
from tenet.rules import check_arguments


@dataclass(kw_only=True)
class BinaryCrossEntropy(Method):
    """One update per iteration, which minimises the binary cross-entropy of every class of every sample.

    The loss is the mean over all entries of the labels that count, in all processes together; every entry weighs the
    same. If a batch holds several views of each sample, their losses are added, as in `CrossEntropy`.

    count_difficult: count the entries that are neither present nor absent (-1) as absent.
    """

    count_difficult: bool = False

    def __post_init__(self) -> None:
        check_arguments(type(self), vars(self))
        self.labels: MultiLabel = MultiLabel(count_difficult=self.count_difficult)

    def updates(self, network: nn.Module, batch: Batch) -> Iterator[Update]:
        logits = network(batch.images).unflatten(0, (batch.views, len(batch.labels)))
        counted = self.labels.counted(batch.labels)
        entries = counted.sum()
        # A process whose labels are all left out has a loss and a weight of 0.
        loss = self.labels.losses(logits, batch.labels).sum() / entries.clamp(min=1)
        yield Update(
            loss=loss,
            batch=batch,
            samples=entries,
            terms={"loss": loss.detach()},
            correct=self.labels.is_correct(logits[0].detach(), batch.labels),
            counted=counted,
        )
