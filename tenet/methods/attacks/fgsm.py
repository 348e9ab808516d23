"""Attacks of a single step."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from tenet.methods.attacks.attack import Attack, Draws, cross_entropy_of
from tenet.methods.attacks.ball import Images, make_ball
from tenet.methods.attacks.pgd import ascend
from tenet.networks import Network
from tenet.rules import Fraction, check_arguments, to_number


@dataclass(kw_only=True)
class Fgsm(Attack):
    """One step of the whole radius along the gradient's sign or, in the norm l2, along the gradient.

    radius: the largest change, of images in [0, 1]: a number, or text such as 8/255.
    Source: Goodfellow et al., ICLR 2015 (arXiv 1412.6572).
    """

    radius: Fraction = "8/255"
    norm: Literal["linf", "l2"] = "linf"

    forwards = 1

    def __post_init__(self) -> None:
        check_arguments(type(self), vars(self))
        self.ball = make_ball(self.norm, self.radius)

    def search(self, network: Network, images: Images, labels: Tensor, *, draw: Draws) -> Images:
        losses, size = cross_entropy_of(labels), self.ball.radius
        return ascend(network, images, losses, start=images, ball=self.ball, step_size=size, steps=1)


@dataclass(kw_only=True)
class FgsmRs(Attack):
    """One step along the gradient's sign, from a random start uniform in the ball.

    radius, step_size: of images in [0, 1]; the paper's step is 1.25 times the radius.
    Source: Wong, Rice and Kolter, ICLR 2020 (arXiv 2001.03994).
    """

    radius: Fraction = "8/255"
    step_size: Fraction = "10/255"

    forwards = 1

    def __post_init__(self) -> None:
        check_arguments(type(self), vars(self))
        self.ball = make_ball("linf", self.radius, step_size=self.step_size)

    def search(self, network: Network, images: Images, labels: Tensor, *, draw: Draws) -> Images:
        losses, size = cross_entropy_of(labels), to_number(self.step_size)
        start = self.ball.start(images, draw("restart 1"))
        return ascend(network, images, losses, start=start, ball=self.ball, step_size=size, steps=1)
