"""A network without BatchNorm in float64, and its batches: parts of a batch add up to the whole."""

import torch
from torch import nn

from tenet.methods import Batch, Draw
from tenet.networks import Network
from tenet.randomness import make_generator

CHANNELS = 4
STEPS = 6


def make_network() -> Network:
    torch.manual_seed(1)
    layers = [
        nn.Conv2d(3, CHANNELS, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * CHANNELS, 3)
    ]  # fmt: skip
    return Network(nn.Sequential(*layers), cut="1").double()


class SmoothLoader:
    """Six batches of nine samples an epoch, or the `share` of each. wrong_step: where every other label is wrong."""

    steps_per_epoch = STEPS

    def __init__(self, *, views: int = 1, share: slice = slice(None), wrong_step: int | None = None) -> None:
        self.views, self.share, self.wrong_step = views, share, wrong_step

    def epoch(self, epoch, *, start=0):
        for step in range(epoch * STEPS + start + 1, (epoch + 1) * STEPS + 1):
            generator = make_generator("cpu", seed=0, purpose="smooth", step=step)
            labels = torch.randint(3, (9,), generator=generator)
            images = torch.rand(self.views, 9, 3, 6, 6, generator=generator, dtype=torch.float64)
            images[:, torch.arange(9), labels] += 0.5
            if step == self.wrong_step:
                labels[1::2] = (labels[1::2] + 1) % 3
            yield Batch(
                images=images[:, self.share].flatten(0, 1),
                labels=labels[self.share],
                step=step,
                draw=Draw("cpu", seed=7, step=step),
                views=self.views,
            )
