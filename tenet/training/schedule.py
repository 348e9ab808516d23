"""Learning-rate schedules: pure functions from step to factor."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

from tenet.rules import at_least, at_most


class Schedule(ABC):
    @abstractmethod
    def __call__(self, step: int, total_steps: int) -> float:
        """The factor of the optimizer's learning rates after `step` of `total_steps` steps.

        A run may go on after `total_steps`, at the factor that the schedule ends with.
        """


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine from 1 to `final_factor` over the whole run, after a linear warm-up of `warmup_steps`."""

    final_factor: Annotated[float, at_least(0), at_most(1)] = 1e-5
    warmup_steps: Annotated[int, at_least(0)] = 0

    def __call__(self, step: int, total_steps: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = min(1, (step - self.warmup_steps) / max(1, total_steps - self.warmup_steps))
        return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The optimizer's own learning rate throughout, after a linear warm-up of `warmup_steps`."""

    warmup_steps: Annotated[int, at_least(0)] = 0

    def __call__(self, step: int, total_steps: int) -> float:
        return (step + 1) / self.warmup_steps if step < self.warmup_steps else 1.0
