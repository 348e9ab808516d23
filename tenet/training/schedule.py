"""Learning-rate schedules: pure functions from step to factor, and to momentum."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from tenet.rules import above, at_least, at_most, below


class Span(NamedTuple):
    """What a schedule spans: `steps` in all, of which an epoch has `steps_per_epoch`."""

    steps: int
    steps_per_epoch: int

    def epoch(self, step: int) -> int:
        """The epoch that `step` belongs to, counted from 0; after the span, its last one."""
        return min(step, self.steps - 1) // self.steps_per_epoch


class Schedule(ABC):
    @abstractmethod
    def __call__(self, step: int, span: Span) -> float:
        """The factor of the optimizer's learning rates after `step` steps.

        A run may continue after the span; the factor then stays at the schedule's last one.
        """

    def momentum(self, step: int, span: Span) -> float | None:
        """The optimizer's momentum, or its first beta, after `step` steps; None: the optimizer's own."""
        return None

    @property
    def sets_momentum(self) -> bool:
        """Whether the optimizer must have a momentum or betas."""
        return False


@dataclass(frozen=True, kw_only=True)
class WarmedUp(Schedule):
    """A schedule after a linear warm-up of `warmup_steps` or of `warmup_epochs`.

    Raises ValueError if both are given.
    """

    warmup_steps: Annotated[int, at_least(0)] = 0
    warmup_epochs: Annotated[float, at_least(0)] = 0.0

    def __post_init__(self) -> None:
        if self.warmup_steps and self.warmup_epochs:
            raise ValueError(
                f"warmup_steps={self.warmup_steps} and warmup_epochs={self.warmup_epochs:g} are both given; "
                "set one of them to 0"
            )

    def __call__(self, step: int, span: Span) -> float:
        warmup = self.warmup_steps + round(self.warmup_epochs * span.steps_per_epoch)
        return (step + 1) / warmup if step < warmup else self.after_warmup(step, span, warmup)

    @abstractmethod
    def after_warmup(self, step: int, span: Span, warmup: int) -> float:
        """The factor after `step` steps, of which `warmup` were the warm-up."""


@dataclass(frozen=True, kw_only=True)
class Cosine(WarmedUp):
    """Half a cosine from 1 to `final_factor` over the steps that the warm-up leaves."""

    final_factor: Annotated[float, at_least(0), at_most(1)] = 1e-5

    def after_warmup(self, step: int, span: Span, warmup: int) -> float:
        progress = min(1.0, (step - warmup) / max(1, span.steps - warmup))
        return anneal(1.0, self.final_factor, progress)


@dataclass(frozen=True, kw_only=True)
class Linear(WarmedUp):
    """A straight line from 1 to `final_factor` over the steps that the warm-up leaves."""

    final_factor: Annotated[float, at_least(0), at_most(1)] = 0.0

    def after_warmup(self, step: int, span: Span, warmup: int) -> float:
        progress = min(1.0, (step - warmup) / max(1, span.steps - warmup))
        return 1.0 + (self.final_factor - 1.0) * progress


@dataclass(frozen=True, kw_only=True)
class Constant(WarmedUp):
    """The optimizer's own learning rate throughout, after the warm-up."""

    def after_warmup(self, step: int, span: Span, warmup: int) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class MultiStep(WarmedUp):
    """Multiplies the learning rate by `gamma` at the end of each epoch in `milestones`, counted from the start of the
    run, the warm-up included.

    Raises ValueError unless the milestones rise.
    """

    milestones: Sequence[Annotated[int, at_least(1)]]
    gamma: Annotated[float, above(0), at_most(1)] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(
                f"milestones={list(self.milestones)} must rise; sort them and drop repeated ones"
            )

    def after_warmup(self, step: int, span: Span, warmup: int) -> float:
        epoch = span.epoch(step)
        return self.gamma ** sum(milestone <= epoch for milestone in self.milestones)


@dataclass(frozen=True, kw_only=True)
class Step(WarmedUp):
    """Multiplies the learning rate by `gamma` every `every_epochs` epochs, counted as in `MultiStep`."""

    every_epochs: Annotated[int, at_least(1)]
    gamma: Annotated[float, above(0), at_most(1)] = 0.1

    def after_warmup(self, step: int, span: Span, warmup: int) -> float:
        return self.gamma ** (span.epoch(step) // self.every_epochs)


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """One cycle up and down, by cosines: the optimizer's learning rate is the peak, after `pct_start` of the steps.

    It starts at the peak / `div_factor` and ends at the start / `final_div_factor`. With `cycle_momentum` the momentum (the
    first beta of an optimizer that has betas) moves the other way, from `max_momentum` to `base_momentum` and back, in
    place of the optimizer's own.
    Source: arXiv 1708.07120; the values are those of torch.optim.lr_scheduler.OneCycleLR.
    """

    pct_start: Annotated[float, at_least(0), at_most(1)] = 0.3
    div_factor: Annotated[float, at_least(1)] = 25.0
    final_div_factor: Annotated[float, at_least(1)] = 1e4
    cycle_momentum: bool = True
    base_momentum: Annotated[float, at_least(0), below(1)] = 0.85
    max_momentum: Annotated[float, at_least(0), below(1)] = 0.95

    def __call__(self, step: int, span: Span) -> float:
        first = 1 / self.div_factor
        return self._cycle(step, span, start=first, peak=1.0, end=first / self.final_div_factor)

    def momentum(self, step: int, span: Span) -> float | None:
        if not self.cycle_momentum:
            return None
        return self._cycle(
            step, span, start=self.max_momentum, peak=self.base_momentum, end=self.max_momentum
        )

    @property
    def sets_momentum(self) -> bool:
        return self.cycle_momentum

    def _cycle(self, step: int, span: Span, *, start: float, peak: float, end: float) -> float:
        last = span.steps - 1
        step = min(step, last)
        turn = self.pct_start * span.steps - 1  # need not be an integer, as in torch
        if step <= turn:
            return anneal(start, peak, step / turn if turn else 1.0)
        return anneal(peak, end, (step - turn) / (last - turn))


def anneal(start: float, end: float, progress: float) -> float:
    """Half a cosine from `start` to `end`; progress: from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
