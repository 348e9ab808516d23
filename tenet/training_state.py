"""What a training run keeps between steps: its position, the sums of its metrics, and its checkpoints."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tenet.checkpoint import Checkpoints
from tenet.distributed import ALONE, Team
from tenet.errors import CheckpointError
from tenet.inhibition import InhibitedStep


class Window:
    """Sums over the steps since the last log, on the device: adding never makes the host wait."""

    LOSS, WRONG, SAMPLES, STEPS, INHIBITED, ORTHOGONALITY, INHIBITED_STEPS, FIRST_BAD = range(8)

    def __init__(self, device: torch.device, team: Team = ALONE) -> None:
        self.team = team
        self.sums = torch.zeros(8, dtype=torch.float64, device=device)

    def add_plain(self, loss: Tensor, correct: Tensor, *, step: int) -> None:
        self.sums[self.LOSS] += loss
        self.sums[self.WRONG] += correct.numel() - correct.sum()
        self.sums[self.SAMPLES] += correct.numel()
        self.sums[self.STEPS] += 1
        self._note_nonfinite(loss, step)

    def add_inhibited(self, inhibited: InhibitedStep, *, weight: Tensor | float, step: int) -> None:
        self.sums[self.INHIBITED] += weight * inhibited.cross_entropy.detach()
        self.sums[self.ORTHOGONALITY] += weight * inhibited.orthogonality.detach()
        self.sums[self.INHIBITED_STEPS] += 1
        self._note_nonfinite(inhibited.loss.detach(), step)

    def reset(self) -> None:
        self.sums.zero_()

    def _note_nonfinite(self, loss: Tensor, step: int) -> None:
        is_first = ~torch.isfinite(loss) & (self.sums[self.FIRST_BAD] == 0)
        self.sums[self.FIRST_BAD] += is_first * step

    def read(self) -> tuple[dict[str, float], int]:
        """The means over all processes, and the first step whose loss was not finite (0: none). Here the host
        waits."""
        sums = self.total().tolist()
        metrics = {}
        if sums[self.STEPS]:
            metrics["train/loss"] = sums[self.LOSS] / sums[self.STEPS]
            metrics["train/error_pct"] = 100 * sums[self.WRONG] / sums[self.SAMPLES]
        if sums[self.INHIBITED_STEPS]:
            metrics["train/loss_inhibited"] = sums[self.INHIBITED] / sums[self.INHIBITED_STEPS]
            metrics["train/loss_orthogonality"] = sums[self.ORTHOGONALITY] / sums[self.INHIBITED_STEPS]
        return metrics, int(sums[self.FIRST_BAD])

    def total(self) -> Tensor:
        """The sums of all processes together; every process must ask."""
        total = self.team.sum(self.sums)
        if self.team.size > 1:
            total[self.FIRST_BAD] = self.team.greatest(self.sums)[self.FIRST_BAD]
        return total


@dataclass
class TrainingState:
    """The position of a run. All that a checkpoint holds besides weights and optimizer is here."""

    step: int
    inhibited_steps: int
    skipped_steps: int
    window: Window
    metrics: dict[str, float] = field(default_factory=dict)

    @classmethod
    def restore(
        cls, model: nn.Module, optimizer: Optimizer, checkpoints: Checkpoints, team: Team = ALONE
    ) -> "TrainingState":
        """The state of the last checkpoint, loaded into model and optimizer too; a fresh one if there is none.

        Raises CheckpointError where the checkpoint does not fit.
        """
        state = cls(0, 0, 0, Window(next(model.parameters()).device, team))
        saved = checkpoints.load()
        if saved is None:
            return state
        try:
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            if team.is_first:  # they are everybody's
                state.window.sums.copy_(saved["window"])
            state.step, state.inhibited_steps = saved["step"], saved["inhibited_steps"]
            state.skipped_steps, state.metrics = saved["skipped_steps"], saved["metrics"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{checkpoints.newest()} does not fit this configuration: {error}"
            ) from error
        return state

    def save(self, model: nn.Module, optimizer: Optimizer, checkpoints: Checkpoints) -> None:
        content: dict[str, Any] = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "window": self.window.total(),
            "step": self.step,
            "inhibited_steps": self.inhibited_steps,
            "skipped_steps": self.skipped_steps,
            "metrics": self.metrics,
        }
        checkpoints.save(content)
