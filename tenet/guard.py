"""Steps down a gradient, and what to do with one that is not finite."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tenet.distributed import ALONE, Team


class Guard:
    """Takes the optimizer's steps; with `skips`, not those whose loss or gradient is not finite."""

    def __init__(self, model: nn.Module, *, skips: bool = False, team: Team = ALONE) -> None:
        self.model, self.skips, self.team = model, skips, team
        self._buffers: list[Tensor] = []

    def remember(self) -> None:
        """Before a forward in train mode: it moves the BatchNorm statistics, also by what is not finite."""
        if self.skips:
            self._buffers = [buffer.clone() for buffer in self.model.buffers()]

    def descend(self, optimizer: Optimizer, loss: Tensor) -> Tensor | None:
        """One optimizer step down the gradient of `loss`: the gradient's norm, or None if it was skipped.

        Only with `skips` does the host wait.
        """
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [one.grad for one in self.model.parameters() if one.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.skips and self.team.greatest(not torch.isfinite(loss.detach() + norm)) != (0,):
            optimizer.zero_grad(set_to_none=True)
            for buffer, before in zip(self.model.buffers(), self._buffers, strict=True):
                buffer.copy_(before)
            return None
        optimizer.step()
        return norm
