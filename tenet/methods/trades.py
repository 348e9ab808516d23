"""TRADES: cross-entropy on the images, and the divergence between the predictions for them and for worse images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.methods.attacks import ascend, attacked, draw_like, make_ball
from tenet.methods.cross_entropy import CrossEntropy
from tenet.methods.method import Batch, Composed, Update
from tenet.networks import unwrap
from tenet.rules import Fraction, at_least, check_arguments, to_number

# The deviation of the Gaussian noise that the attack starts from, of images in [0, 1].
START_DEVIATION = 1e-3


@dataclass(kw_only=True)
class Trades(Composed):
    """One update per iteration, with the loss CE(f(x), y) + beta KL(f(x) || f(x')) and x' within the radius around x.

    x' is where `steps` steps along the sign of the divergence's gradient lead, in eval mode. The gradient of the loss flows
    through both predictions. Both are computed in one forward in train mode, in which BatchNorm normalises x and x'
    separately and moves its statistics twice. The training error and inhibited updates are those of x.

    method: the cross-entropy. radius, step_size: of images in [0, 1]; numbers, or text such as 8/255.

    Raises ValueError if the method is another one.
    Source: Zhang et al., ICML 2019 (arXiv 1901.08573).
    """

    radius: Fraction = 0.031
    step_size: Fraction = 0.007
    steps: Annotated[int, at_least(1)] = 10
    beta: Annotated[float, at_least(0)] = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_arguments(type(self), vars(self))
        if not isinstance(self.method, CrossEntropy):
            raise ValueError(
                "TRADES has a loss of its own, on top of the cross-entropy alone; choose objective=cross_entropy or "
                "another attack"
            )
        self.objective: CrossEntropy = self.method
        self.ball = make_ball("linf", self.radius, step_size=self.step_size)
        self.forwards = 2 + 1 + self.steps

    def updates(self, network: nn.Module, batch: Batch) -> Iterator[Update]:
        worse = self.attack(network, batch)
        clean, attacked_ = network(torch.cat([batch.images, worse]), parts=2).chunk(2)
        natural = self.objective.loss(clean, batch)
        divergence = divergences(attacked_, F.log_softmax(clean, dim=1)).sum() / len(batch.labels)
        loss = natural + self.beta * divergence
        terms = {"loss": loss, "loss_cross_entropy": natural, "loss_divergence": divergence}
        yield Update(
            loss=loss,
            batch=batch,
            samples=len(batch.labels),
            terms={name: term.detach() for name, term in terms.items()},
            correct=batch.is_correct(clean.detach()),
        )

    def attack(self, network: nn.Module, batch: Batch) -> Float[Tensor, "views_batch 3 height width"]:
        """The images made worse. Leaves the network's mode, gradients and BatchNorm statistics unchanged."""
        images, inner = batch.images, unwrap(network)
        start = images + START_DEVIATION * draw_like(images, torch.randn, batch.draw("trades"))
        was_training = inner.training
        inner.eval()
        try:
            with attacked(inner):
                with torch.no_grad():
                    # Through DistributedDataParallel, which gives all processes the main one's BatchNorm statistics.
                    target = F.log_softmax(network(images), dim=1)
                return ascend(
                    inner,
                    images,
                    lambda logits: divergences(logits, target),
                    start=start,
                    ball=self.ball,
                    step_size=to_number(self.step_size),
                    steps=self.steps,
                )
        finally:
            inner.train(was_training)


def divergences(
    logits: Float[Tensor, "batch class"], target: Float[Tensor, "batch class"]
) -> Float[Tensor, " batch"]:
    """By image, KL(target || prediction) in nats. target: log-probabilities."""
    return F.kl_div(F.log_softmax(logits, dim=1), target, reduction="none", log_target=True).sum(1)
