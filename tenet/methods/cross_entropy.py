"""Standard training."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.methods.method import Batch, Method, Update
from tenet.rules import at_least, below, check_arguments


@dataclass(kw_only=True)
class CrossEntropy(Method):
    """One update per iteration, which minimises the cross-entropy.

    If a batch holds several views of each sample (see tenet.mixing.Hybrid), their losses are added, as in HybridAugment.

    label_smoothing: the share of the target that is spread evenly over all classes, in [0, 1).
    """

    label_smoothing: Annotated[float, at_least(0), below(1)] = 0.0

    def __post_init__(self) -> None:
        check_arguments(type(self), vars(self))

    def updates(self, network: nn.Module, batch: Batch) -> Iterator[Update]:
        logits = network(batch.images)
        loss = self.loss(logits, batch)
        yield Update(
            loss=loss,
            batch=batch,
            samples=len(batch.labels),
            terms={"loss": loss.detach()},
            correct=batch.is_correct(logits.detach()),
        )

    def loss(self, logits: Float[Tensor, "views_batch class"], batch: Batch) -> Float[Tensor, ""]:
        """The mean over samples of the sum over their views."""
        mean = F.cross_entropy(logits, batch.targets_of_views, label_smoothing=self.label_smoothing)
        return batch.views * mean
