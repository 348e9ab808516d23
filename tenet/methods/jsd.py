"""AugMix's objective: cross-entropy on the clean view, and consistency between all three views."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.methods.method import Batch, Method, Update
from tenet.rules import at_least, check_arguments

# The official code's lower bound of the mean probability, which also cuts the gradient there.
LOWEST_PROBABILITY = 1e-7


@dataclass(kw_only=True)
class Jsd(Method):
    """One update per iteration, from three views of each sample in one forward: the first clean, two augmented.

    weight: the factor of the Jensen-Shannon divergence between the three predictions.
    Source: Hendrycks et al., ICLR 2020 (arXiv 1912.02781); google-research/augmix, cifar.py.
    """

    weight: Annotated[float, at_least(0)] = 12.0

    views = 3

    def __post_init__(self) -> None:
        check_arguments(type(self), vars(self))

    def updates(self, network: nn.Module, batch: Batch) -> Iterator[Update]:
        # One forward: BatchNorm normalises all views together.
        logits = network(batch.images)
        samples = len(batch.labels)
        cross_entropy = F.cross_entropy(logits[:samples], batch.hard_or_soft_targets)
        consistency = jensen_shannon(logits.unflatten(0, (batch.views, samples)))
        loss = cross_entropy + self.weight * consistency
        terms = {"loss": loss, "loss_cross_entropy": cross_entropy, "loss_consistency": consistency}
        yield Update(
            loss=loss,
            batch=batch,
            samples=samples,
            terms={name: term.detach() for name, term in terms.items()},
            correct=batch.is_correct(logits.detach()),
        )


def jensen_shannon(logits: Float[Tensor, "view batch class"]) -> Float[Tensor, ""]:
    """The mean over views and samples of KL(prediction of a view || mean prediction of the views), in nats.

    Computed from log-probabilities, so that its gradient is finite also where a probability underflows to 0: the
    official code's is NaN there.
    """
    log_probabilities = F.log_softmax(logits, dim=2)
    probabilities = log_probabilities.exp()
    log_mean = probabilities.mean(dim=0).clamp(LOWEST_PROBABILITY, 1).log()
    return (probabilities * (log_probabilities - log_mean)).sum(dim=2).mean()
