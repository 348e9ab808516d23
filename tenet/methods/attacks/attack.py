"""The base class of attacks, and what all of them do to the network that they attack."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.methods.attacks.ball import Ball, Generators, Images
from tenet.networks import Network

Draws = Callable[[str], Generators]
# What an attack raises, by image, as a function of the logits.
Losses = Callable[[Float[Tensor, "batch class"]], Float[Tensor, " batch"]]


class Attack(ABC):
    """A way to make images worse for a network; see the docstring of the package."""

    ball: Ball
    """The images that the attack may return."""

    @property
    @abstractmethod
    def forwards(self) -> int:
        """How many forward passes of each image the attack costs; nearly all of them have a backward pass, too."""

    def perturb(self, network: Network, images: Images, labels: Tensor, *, draw: Draws) -> Images:
        """The images made worse, in [0, 1] and within `ball` around those given.

        labels: int64 [batch], or the shares of the classes, float [batch, class]. draw: the generators for one purpose.
        The network is attacked in the mode that it is in: in train mode, BatchNorm normalises by the batch.
        """
        with attacked(network):
            return self.search(network, images.detach(), labels, draw=draw)

    @abstractmethod
    def search(self, network: Network, images: Images, labels: Tensor, *, draw: Draws) -> Images:
        """What `perturb` returns, for a network that computes in float32 and whose BatchNorm statistics don't move."""


@contextmanager
def attacked(network: Network) -> Iterator[None]:
    """A context in which forwards are in float32 and leave BatchNorm's running statistics alone, also in train mode."""
    moving = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.training
        and module.track_running_stats
    ]
    precision, network.precision = network.precision, "fp32"
    for module in moving:
        module.track_running_stats = False
    try:
        yield
    finally:
        network.precision = precision
        for module in moving:
            module.track_running_stats = True


def cross_entropy_of(labels: Tensor) -> Losses:
    """The function logits -> cross-entropy of each image, with these labels or shares of the classes."""
    return lambda logits: F.cross_entropy(logits, labels, reduction="none")


class Gradients(NamedTuple):
    gradients: Images
    losses: Float[Tensor, " batch"]
    logits: Float[Tensor, "batch class"]


def input_gradients(network: Network, images: Images, losses: Losses) -> Gradients:
    """The gradients of the losses with respect to the images, the losses and the logits, all detached."""
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = network(images)
        by_image = losses(logits)
        # With respect to the images alone: no parameter's gradient is touched.
        (gradients,) = torch.autograd.grad(by_image.sum(), images)
    return Gradients(gradients, by_image.detach(), logits.detach())
