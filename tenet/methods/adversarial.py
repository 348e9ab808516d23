"""Adversarial training: any method, on images that an attack has made worse."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tenet.methods.attacks import Attack, ascend, attacked, cross_entropy_of
from tenet.methods.method import Batch, Composed, Update
from tenet.networks import Network, unwrap

logger = logging.getLogger("tenet")

# Training with a one-step attack is checked every WATCH_EVERY steps: PGD of WATCH_STEPS steps attacks the first
# WATCH_IMAGES images of the batch.
WATCH_EVERY, WATCH_IMAGES, WATCH_STEPS = 200, 128, 10


@dataclass(kw_only=True)
class Adversarial(Composed):
    """The updates of `method` on images that `attack` has made worse, with respect to their labels.

    The attack raises the cross-entropy of every image with its sample's label or, where samples were mixed, with the
    shares of the classes. If samples have several views, each view is attacked separately. The attack runs in train mode,
    as the training step does, without moving BatchNorm's statistics.

    Training with a one-step attack may fail at once and for good: the network then withstands only this attack. So every
    200 steps, PGD-10 attacks 128 images of the batch before the network is trained on them, at the cost of 11 forward
    passes of these images. The share that is then misclassified is the metric `train/error_pgd_pct`. A warning is logged
    once it is far above the error under the attack of training.

    Raises ValueError for a method whose images show several classes.
    Sources: Madry et al., ICLR 2018 (arXiv 1706.06083); Wong, Rice and Kolter, ICLR 2020 (arXiv 2001.03994).
    """

    attack: Attack

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels.is_multi_label:
            raise ValueError(
                "it raises the cross-entropy of a single label, but the chosen objective is for images with several labels; "
                "choose attack=free or attack=none"
            )
        self.forwards += self.attack.forwards
        self._has_warned = False

    def updates(self, network: nn.Module, batch: Batch) -> Iterator[Update]:
        inner = unwrap(network)
        worse = self.attack.perturb(inner, batch.images, batch.targets_of_views, draw=batch.draw)
        is_watched = self.attack.forwards == 1 and batch.step % WATCH_EVERY == 0
        is_right = self._attack_by_pgd(inner, batch) if is_watched else None
        for update in self.method.updates(network, replace(batch, images=worse)):
            if is_right is not None and update.correct is not None:
                update.terms["error_pgd_pct"] = 100 * (1 - is_right.float().mean())
                self._warn(is_right, update.correct[: len(is_right)], batch.step)
            yield update

    def _attack_by_pgd(self, network: Network, batch: Batch) -> Tensor:
        """Which of the batch's first images are still classified right under PGD within the attack's ball: bool [image]."""
        count, ball = min(WATCH_IMAGES, len(batch.labels)), self.attack.ball
        images, labels = batch.images[:count], batch.labels[:count]
        start = ball.start(images, batch.draw("restart 1"))
        with attacked(network):
            worse = ascend(
                network, images, cross_entropy_of(labels),
                start=start, ball=ball, step_size=ball.radius / 4, steps=WATCH_STEPS,
            )  # fmt: skip
            with torch.no_grad():
                return network(worse).argmax(1) == labels

    def _warn(self, by_pgd: Tensor, by_own: Tensor, step: int) -> None:
        under_pgd, under_own = torch.stack([by_pgd.float().mean(), by_own.float().mean()]).tolist()
        if self._has_warned or under_pgd > min(under_own / 2, under_own - 0.2):
            return
        self._has_warned = True
        logger.warning(
            "step %d: catastrophic overfitting: of %d training images, %.0f %% withstand the attack of training but only "
            "%.0f %% PGD-%d; stop, and train with a smaller attack.step_size or with attack=pgd",
            step, len(by_pgd), 100 * under_own, 100 * under_pgd, WATCH_STEPS,
        )  # fmt: skip
