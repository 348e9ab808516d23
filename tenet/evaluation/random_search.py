"""Attacks without gradients, which gradient attacks are compared with."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tenet.methods.attacks import Attack, Draws, make_ball
from tenet.methods.attacks.attack import cross_entropy_of
from tenet.methods.attacks.ball import Images
from tenet.methods.attacks.pgd import Worst
from tenet.networks import Network
from tenet.rules import Fraction


@dataclass(kw_only=True)
class NoAttack(Attack):
    """The images themselves."""

    forwards = 0

    def __post_init__(self) -> None:
        self.ball = make_ball("linf", 0)

    def search(self, network: Network, images: Images, labels: Tensor, *, draw: Draws) -> Images:
        return images


@dataclass(kw_only=True)
class RandomSearch(Attack):
    """The worst of several random changes as long as the radius; in the norm linf, each value moves by the whole radius.

    A gradient attack of the same radius that is weaker than this one is misled by its gradients.
    """

    radius: Fraction = "8/255"
    norm: Literal["linf", "l2"] = "linf"
    draws: int = 10

    def __post_init__(self) -> None:
        self.ball = make_ball(self.norm, self.radius)

    @property
    def forwards(self) -> int:
        return self.draws

    def search(self, network: Network, images: Images, labels: Tensor, *, draw: Draws) -> Images:
        losses, worst = cross_entropy_of(labels), Worst(images)
        for number in range(1, self.draws + 1):
            changes = self.ball.draw_far(images, draw(f"restart {number}"))
            if self.norm == "linf":
                changes = self.ball.radius * changes.sign()
            found = self.ball.project(images + changes, images)
            with torch.no_grad():
                logits = network(found)
            worst.add(found, losses(logits), logits, labels)
        return worst.images
