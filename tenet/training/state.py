"""What a training run keeps between steps: its position, the sums of its metrics, and its checkpoints."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tenet.distributed import ALONE, ProcessGroup
from tenet.errors import CheckpointError
from tenet.inhibition import InhibitedStep
from tenet.training.checkpoint import Checkpoints

COUNTERS = ("step", "closed_step", "inhibited_steps", "skipped_steps", "nonfinite_steps")


class Window:
    """Sums over the steps since the last log, on the device: adding never makes the host wait.

    Losses of a team's processes come weighted (`ProcessGroup.weight`); the gradient is the same in all of them.
    """

    LOSS, WRONG, SAMPLES, STEPS, INHIBITED, ORTHOGONALITY, INHIBITED_STEPS, GRADIENT, FIRST_BAD = range(9)

    def __init__(self, device: torch.device, team: ProcessGroup = ALONE) -> None:
        self.team = team
        self.sums = torch.zeros(9, dtype=torch.float64, device=device)

    def add_plain(self, loss: Tensor, correct: Tensor, *, gradient_norm: Tensor, step: int) -> None:
        self.sums[self.LOSS] += loss
        self.sums[self.WRONG] += correct.numel() - correct.sum()
        self.sums[self.SAMPLES] += correct.numel()
        self.sums[self.STEPS] += 1
        self.sums[self.GRADIENT] += gradient_norm
        self._note_nonfinite(loss + gradient_norm, step)

    def add_inhibited(
        self, inhibited: InhibitedStep, *, weight: Tensor | float, gradient_norm: Tensor, step: int
    ) -> None:
        self.sums[self.INHIBITED] += weight * inhibited.cross_entropy.detach()
        self.sums[self.ORTHOGONALITY] += weight * inhibited.orthogonality.detach()
        self.sums[self.INHIBITED_STEPS] += 1
        self._note_nonfinite(inhibited.loss.detach() + gradient_norm, step)

    def reset(self) -> None:
        self.sums.zero_()

    def _note_nonfinite(self, value: Tensor, step: int) -> None:
        is_main_process = ~torch.isfinite(value) & (self.sums[self.FIRST_BAD] == 0)
        self.sums[self.FIRST_BAD] += is_main_process * step

    def read(self) -> tuple[dict[str, float], int]:
        """The means over all processes, and the first step whose loss or gradient was not finite (0: none).
        Here the host waits."""
        sums = self.total().tolist()
        (first_bad,) = self.team.all_reduce_max(int(self.sums[self.FIRST_BAD]))
        metrics = {}
        if sums[self.STEPS]:
            metrics["train/loss"] = sums[self.LOSS] / sums[self.STEPS]
            metrics["train/error_pct"] = 100 * sums[self.WRONG] / sums[self.SAMPLES]
            metrics["train/gradient_norm"] = sums[self.GRADIENT] / sums[self.STEPS]
        if sums[self.INHIBITED_STEPS]:
            metrics["train/loss_inhibited"] = sums[self.INHIBITED] / sums[self.INHIBITED_STEPS]
            metrics["train/loss_orthogonality"] = sums[self.ORTHOGONALITY] / sums[self.INHIBITED_STEPS]
        return metrics, first_bad

    def total(self) -> Tensor:
        """The sums of all processes together; every process must ask."""
        return self.team.all_reduce_sum(self.sums)


@dataclass
class TrainingState:
    """The position of a run. All that a checkpoint holds besides weights and optimizer is here."""

    window: Window
    step: int = 0
    # The step at which an epoch was last closed: evaluated if that was due.
    closed_step: int = 0
    inhibited_steps: int = 0
    # Inhibited steps without a right sample, and steps of which a non-finite loss or gradient left nothing.
    skipped_steps: int = 0
    nonfinite_steps: int = 0
    metrics: dict[str, float] = field(default_factory=dict)

    @classmethod
    def restore(
        cls, model: nn.Module, optimizer: Optimizer, checkpoints: Checkpoints, team: ProcessGroup = ALONE
    ) -> "TrainingState":
        """The state of the last checkpoint, loaded into model and optimizer too; a fresh one if there is none.

        Raises CheckpointError where the checkpoint does not fit.
        """
        state = cls(Window(next(model.parameters()).device, team))
        found = checkpoints.find()
        if found is None:
            return state
        saved = found.content
        try:
            model.load_state_dict(saved["model"])
            _restore_optimizer(optimizer, saved["optimizer"])
            if team.is_main_process:  # they are everybody's
                state.window.sums.copy_(saved["window"])
            for name in COUNTERS:
                setattr(state, name, _count(saved, name))
            state.metrics = {str(name): float(value) for name, value in saved["metrics"].items()}
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(f"{found.path} does not fit this configuration: {error}") from error
        return state

    def save(self, model: nn.Module, optimizer: Optimizer, checkpoints: Checkpoints) -> None:
        content: dict[str, Any] = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "window": self.window.total(),
            "metrics": self.metrics,
            **{name: getattr(self, name) for name in COUNTERS},
        }
        checkpoints.save(content)


def _restore_optimizer(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Load its state; what it is set to is for the configuration to say, not for a file."""
    groups = optimizer.state_dict()["param_groups"]
    if [group["params"] for group in saved["param_groups"]] != [group["params"] for group in groups]:
        raise ValueError("the optimizer is of other parameters")
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
    # Each optimizer has a state of its own form: whether this is it, a step of a copy shows.
    trial = copy.deepcopy(optimizer)
    for parameter in (parameter for group in trial.param_groups for parameter in group["params"]):
        parameter.grad = torch.zeros_like(parameter)
    try:
        trial.step()
    except Exception as error:
        raise ValueError(f"the optimizer can't go on from its state ({error})") from error


def _count(saved: Mapping[str, Any], name: str) -> int:
    value = saved[name]
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{name}={value!r} is not a number of steps")
    return value
