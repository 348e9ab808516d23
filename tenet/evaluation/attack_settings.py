"""What the keys `attacks` of evaluate.py ask for: attacks by name at each radius, and how they are called in reports."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tenet.errors import ConfigError
from tenet.evaluation.autoattack import STANDARD, AutoAttack
from tenet.evaluation.random_search import NoAttack, RandomSearch
from tenet.methods.attacks import ApgdCe, Attack, Fgsm, Pgd
from tenet.rules import to_number

# Measured at each radius, to judge the others by.
BASELINES = ("random", "fgsm")


class NamedAttack(NamedTuple):
    """label: such as PGD-20."""

    attack: Attack
    label: str
    radius: float


@dataclass(frozen=True, kw_only=True)
class AttackSettings:
    """names: of fgsm, pgd, apgd and autoattack. radius: of images in [0, 1], one or several, as numbers or such as 8/255.
    images: how many of the test images, evenly spaced; None for all. steps: of PGD. step_size: of PGD, at every radius;
    None: 2.5 times the radius over the steps. restarts: of PGD and APGD. autoattack: the attacks of a custom version;
    None: the standard one.
    """

    names: Sequence[str]
    radius: float | str | Sequence[float | str] = "8/255"
    norm: str = "linf"
    images: int | None = None
    steps: int = 20
    step_size: float | str | None = None
    restarts: int = 1
    autoattack: Sequence[str] | None = None

    @property
    def radii(self) -> list[float]:
        """In ascending order. Raises ConfigError if there is none."""
        given = self.radius if isinstance(self.radius, list | tuple) else [self.radius]
        if not given:
            raise ConfigError("attacks.radius=[]: name at least one radius, such as 8/255")
        return sorted(set(map(to_number, given)))

    def attacks(self, *, classes: int) -> dict[str, NamedAttack]:
        """By name of the cell, without `attack/`: none first, then at each radius the baselines and the others.

        Raises ConfigError for a radius that is too large, and if AutoAttack is not possible.
        """
        attacks = {"none": NamedAttack(NoAttack(), "none", 0.0)}
        for radius in self.radii:
            for name in dict.fromkeys([*BASELINES, *self.names]):
                try:
                    attack = self._make(name, radius, classes=classes)
                except ValueError as error:
                    raise ConfigError(f"attacks.{error}") from error
                attacks[self.cell(name, radius)] = NamedAttack(attack, self.label(name), radius)
        return attacks

    def _make(self, name: str, radius: float, *, classes: int) -> Attack:
        ball: dict[str, Any] = {"radius": radius, "norm": self.norm}
        if name == "random":
            return RandomSearch(**ball)
        if name == "fgsm":
            return Fgsm(**ball)
        if name == "pgd":
            return Pgd(**ball, steps=self.steps, step_size=self.step_of(radius), restarts=self.restarts)
        if name == "apgd":
            return ApgdCe(**ball, restarts=self.restarts)
        attacks = STANDARD if self.autoattack is None else self.autoattack
        return AutoAttack(**ball, attacks=attacks, classes=classes)

    def step_of(self, radius: float) -> float:
        if self.step_size is not None:
            return to_number(self.step_size)
        # In the norm linf, a step of 1 reaches every image.
        return min(2.5 * radius / self.steps, 1.0 if self.norm == "linf" else math.inf)

    def cell(self, name: str, radius: float) -> str:
        """Such as pgd-linf-8; a radius that is no multiple of 1/255 has a point, as in pgd-l2-0.5."""
        return f"{name}-{self.norm}-{radius_text(radius).removesuffix('/255')}"

    def label(self, name: str) -> str:
        """Such as PGD-20; with a step size and several restarts, PGD-20 of 2/255 x 5."""
        more = f" x {self.restarts}" if self.restarts > 1 else ""
        step = "" if self.step_size is None else f" of {self.step_size}"
        custom = "" if self.autoattack is None else f" custom ({', '.join(self.autoattack)})"
        return {
            "random": "random search",
            "fgsm": "FGSM",
            "pgd": f"PGD-{self.steps}{step}{more}",
            "apgd": f"APGD-CE{more}",
            "autoattack": f"AutoAttack{custom}",
        }[name]


def radius_text(radius: float) -> str:
    """In 255ths where it is a multiple of them, such as 8/255; whole numbers and others with a point: 1.0, 0.5."""
    in_255ths = round(255 * radius)
    is_multiple = abs(255 * radius - in_255ths) < 1e-6
    # In the norm l2, whole numbers are no multiples of a step of a pixel.
    return f"{in_255ths}/255" if is_multiple and (radius == 0 or radius % 1) else str(float(radius))
