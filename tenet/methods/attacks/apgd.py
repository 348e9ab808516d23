"""Auto-PGD: projected gradient ascent that chooses its step sizes itself."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor

from tenet.methods.attacks.attack import Attack, Draws, cross_entropy_of, input_gradients
from tenet.methods.attacks.ball import Images, make_ball, replace_where
from tenet.methods.attacks.pgd import Worst
from tenet.networks import Network
from tenet.rules import Fraction, at_least, check_arguments

# The paper's values: the weight of a new step against the momentum, and the share of a window's steps that must raise the
# loss for the step size to be kept.
NEW_STEP, RISING = 0.75, 0.75


@dataclass(kw_only=True)
class ApgdCe(Attack):
    """APGD on the cross-entropy.

    The step size begins at twice the radius. It is halved, for each image separately, at the end of a window in which the
    loss rose too rarely or its best value did not improve; the search then continues from the best image.

    radius: of images in [0, 1]: a number, or text such as 8/255. Starts are random changes as long as the radius.
    restarts: as in Pgd.
    Source: Croce and Hein, ICML 2020 (arXiv 2003.01690), algorithm 1.
    """

    radius: Fraction = "8/255"
    steps: Annotated[int, at_least(1)] = 100
    norm: Literal["linf", "l2"] = "linf"
    restarts: Annotated[int, at_least(1)] = 1

    def __post_init__(self) -> None:
        check_arguments(type(self), vars(self))
        self.ball = make_ball(self.norm, self.radius)

    @property
    def forwards(self) -> int:
        return self.restarts * (self.steps + 1)

    def search(self, network: Network, images: Images, labels: Tensor, *, draw: Draws) -> Images:
        # The result is the worst image of all steps of all starts; within a start, the search continues from the image
        # with the highest loss.
        worst = Worst(images)
        for restart in range(1, self.restarts + 1):
            start = images + self.ball.draw_far(images, draw(f"restart {restart}"))
            self.climb(network, images, labels, start=start.clamp(0, 1), worst=worst)
        return worst.images

    def climb(self, network: Network, images: Images, labels: Tensor, *, start: Images, worst: Worst) -> None:
        """Take all steps from one start, and add each result to `worst`."""
        losses, ball = cross_entropy_of(labels), self.ball
        current = previous = start
        found = input_gradients(network, current, losses)
        worst.add(current, found.losses, found.logits, labels)
        best, best_gradients, best_losses = current.clone(), found.gradients, found.losses
        gradients, last_losses = found.gradients, found.losses
        sizes = torch.full_like(images[:, :1, :1, :1], 2 * ball.radius)
        # Since the last window: how often the loss rose. At its end: the best loss, and whether steps were halved.
        rises = torch.zeros_like(best_losses)
        best_then, was_halved = best_losses, torch.zeros_like(rises, dtype=torch.bool)
        ends = windows(self.steps)
        for step in range(1, self.steps + 1):
            ahead = ball.project(current + sizes * ball.direction(gradients), images)
            if step > 1:  # the first step has no momentum
                ahead = ball.project(
                    current + NEW_STEP * (ahead - current) + (1 - NEW_STEP) * (current - previous), images
                )
            previous, current = current, ahead
            found = input_gradients(network, current, losses)
            worst.add(current, found.losses, found.logits, labels)
            gradients = found.gradients
            rises += found.losses > last_losses
            last_losses = found.losses
            is_best = found.losses > best_losses
            best, best_gradients = (
                replace_where(is_best, current, best),
                replace_where(is_best, gradients, best_gradients),
            )
            best_losses = torch.where(is_best, found.losses, best_losses)
            if step in ends:
                halve = (rises < RISING * ends[step]) | (~was_halved & (best_losses <= best_then))
                sizes = replace_where(halve, sizes / 2, sizes)
                current, gradients = (
                    replace_where(halve, best, current),
                    replace_where(halve, best_gradients, gradients),
                )
                rises, best_then, was_halved = torch.zeros_like(rises), best_losses, halve


def windows(steps: int) -> dict[int, int]:
    """The last step of each window -> the window's length.

    The first window has 22 % of the steps, and each further one 3 percentage points less, down to 6 %.
    """
    shares, ends = [0.0, 0.22], [0, math.ceil(0.22 * steps)]
    while ends[-1] < steps:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
        ends.append(math.ceil(shares[-1] * steps))
    # With few steps, several windows may end at the same step; they are one.
    return {end: end - start for start, end in pairwise(sorted(set(ends)))}
