"""Projected gradient descent (PGD): as an attack, it ascends the loss."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from tenet.methods.attacks.attack import Attack, Draws, Losses, cross_entropy_of, input_gradients
from tenet.methods.attacks.ball import Ball, Images, make_ball, replace_where
from tenet.networks import Network
from tenet.rules import Fraction, at_least, check_arguments, to_number


def ascend(
    network: Network,
    images: Images,
    losses: Losses,
    *,
    start: Images,
    ball: Ball,
    step_size: float,
    steps: int,
) -> Images:
    """Take `steps` steps from `start` that raise the losses; project each of them onto the ball around `images`."""
    found = start
    for _ in range(steps):
        gradients = input_gradients(network, found, losses).gradients
        found = ball.project(found + step_size * ball.direction(gradients), images)
    return found


@dataclass(kw_only=True)
class Pgd(Attack):
    """Steps along the gradient's sign (in the norm l2, along the gradient), each followed by a projection onto the ball.

    radius, step_size: of images in [0, 1]; numbers, or text such as 8/255.
    restarts: attack from this many starts. For each image, keep a misclassified result if there is one, and otherwise, or
        among several, the one with the highest cross-entropy.
    random_start: begin at a random image, uniform in the ball; false: at the image itself.

    Raises ValueError for more than one restart without a random start.
    Source: Madry et al., ICLR 2018 (arXiv 1706.06083).
    """

    radius: Fraction = "8/255"
    step_size: Fraction = "2/255"
    steps: Annotated[int, at_least(1)] = 7
    norm: Literal["linf", "l2"] = "linf"
    restarts: Annotated[int, at_least(1)] = 1
    random_start: bool = True

    def __post_init__(self) -> None:
        check_arguments(type(self), vars(self))
        self.ball = make_ball(self.norm, self.radius, step_size=self.step_size)
        if self.restarts > 1 and not self.random_start:
            raise ValueError(
                f"restarts={self.restarts} need random_start=true; without it all of them are equal"
            )

    @property
    def forwards(self) -> int:
        # With several restarts, each result takes one more forward pass, to compare them.
        return self.restarts * (self.steps + (self.restarts > 1))

    def search(self, network: Network, images: Images, labels: Tensor, *, draw: Draws) -> Images:
        losses, size = cross_entropy_of(labels), to_number(self.step_size)
        worst = Worst(images)
        for restart in range(1, self.restarts + 1):
            start = images
            if self.random_start:
                start = self.ball.start(images, draw(f"restart {restart}"))
            found = ascend(
                network, images, losses, start=start, ball=self.ball, step_size=size, steps=self.steps
            )
            if self.restarts == 1:
                return found
            with torch.no_grad():
                logits = network(found)
            worst.add(found, losses(logits), logits, labels)
        return worst.images


class Worst:
    """The worst of several changes of each image: a misclassified one if there is one; otherwise, or among several, the
    one with the highest loss."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self.losses = images.new_full((len(images),), -torch.inf)
        self.is_wrong = torch.zeros_like(self.losses, dtype=torch.bool)

    def add(self, images: Images, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Keep those that are worse than before. labels: classes, or shares of the classes."""
        is_wrong = logits.argmax(1) != (labels.argmax(1) if labels.is_floating_point() else labels)
        is_worse = (is_wrong & ~self.is_wrong) | ((is_wrong == self.is_wrong) & (losses > self.losses))
        self.images = replace_where(is_worse, images, self.images)
        self.losses = torch.where(is_worse, losses, self.losses)
        self.is_wrong |= is_wrong
