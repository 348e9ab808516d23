"""AutoAttack, by the package pyautoattack: the only module that imports it."""

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tenet.errors import ConfigError
from tenet.methods.attacks import Attack, Draws, make_ball
from tenet.methods.attacks.ball import Images
from tenet.networks import Network
from tenet.rules import Fraction

# The attacks of the standard version, and the forward passes of an image that each costs at most, if all its restarts and
# its 9 target classes are needed.
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
FORWARDS = {"apgd-ce": 101, "apgd-t": 909, "fab-t": 2709, "square": 5001, "apgd-dlr": 101, "fab": 301}
MIN_CLASSES = {"apgd-t": 4, "apgd-dlr": 4}
TARGETS = 9


@dataclass(kw_only=True)
class AutoAttack(Attack):
    """Attacks one after the other, each on the images that are still classified right.

    attacks: names of FORWARDS, for a custom version with the settings of the standard one. classes: how many there are;
    of fewer than 10, all other classes are targets, where the standard version has 9. Raises ValueError without attacks.

    The package draws by the seed 0 for each batch, as the standard version is run, and not by `draw`: its result depends on
    which images are in a batch together. Raises ConfigError without the package, and for attacks that need more classes.
    Source: Croce and Hein, ICML 2020 (arXiv 2003.01690).
    """

    radius: Fraction = "8/255"
    norm: Literal["linf", "l2"] = "linf"
    attacks: Sequence[str] = STANDARD
    classes: int = 10

    def __post_init__(self) -> None:
        self.ball = make_ball(self.norm, self.radius)
        if importlib.util.find_spec("pyautoattack") is None:
            raise ConfigError(
                "attacks.names=autoattack needs pyautoattack; install it with pip install 'tenet-training[attacks]'"
            )
        if not self.attacks:
            raise ValueError(
                "autoattack=[]: name at least one attack, or write null for the standard version"
            )
        for name in self.attacks:
            if self.classes < MIN_CLASSES.get(name, 2):
                raise ConfigError(
                    f"attacks.autoattack: {name} needs {MIN_CLASSES[name]} classes, and the data set has "
                    f"{self.classes}; write attacks.autoattack=[apgd-ce,fab-t,square]"
                )

    @property
    def version(self) -> str:
        """Such as `standard version (apgd-ce, apgd-t, fab-t, square)`."""
        is_standard = tuple(self.attacks) == STANDARD and self.classes > TARGETS
        fewer = "" if self.classes > TARGETS else f", {self.classes - 1} target classes"
        return f"{'standard' if is_standard else 'custom'} version ({', '.join(self.attacks)}{fewer})"

    @property
    def forwards(self) -> int:
        return sum(FORWARDS[name] for name in self.attacks)

    def search(self, network: Network, images: Images, labels: Tensor, *, draw: Draws) -> Images:
        from pyautoattack import AutoAttack as Package

        # It logs each batch, and warns of masked gradients by single batches, which `masked_gradients` judges by all images.
        logging.getLogger("auto-attack").setLevel(logging.CRITICAL)

        def logits(images: Images) -> Tensor:
            images = images.view_as(images)
            if (
                images.requires_grad
            ):  # the package takes views of gradients, which channels_last would not allow
                images.register_hook(Tensor.contiguous)
            return network(images)

        norm = {"linf": "Linf", "l2": "L2"}[self.norm]
        devices = [images.device] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # the package seeds the global generators
            package = Package(logits, norm=norm, eps=self.ball.radius, seed=0, device=images.device)
            package.attacks_to_run = list(self.attacks)
            targets = min(TARGETS, self.classes - 1)
            package.apgd_targeted.n_target_classes = package.fab.n_target_classes = targets
            worse, _ = package.run_standard_evaluation(images.contiguous(), labels, batch_size=len(images))
        return worse
