"""Steps down a gradient, and what to do with one that is not finite."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tenet.distributed import ALONE, ProcessGroup


class Guard:
    """Takes the optimizer's steps, but not those whose loss or gradient is not finite.

    refuse: called with the loss and its name for each of those; it must raise unless the run `skips` them.
    With `skips`, BatchNorm's statistics are put back too, and the host waits for every gradient; without it,
    on CPUs alone, where that costs nothing.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        refuse: Callable[[str, Tensor], None],
        skips: bool = False,
        team: ProcessGroup = ALONE,
    ) -> None:
        self.model, self.refuse, self.skips, self.team = model, refuse, skips, team
        self.watches = skips or next(model.parameters()).device.type == "cpu"
        self._buffers: list[Tensor] = []

    def remember(self) -> None:
        """Before a forward in train mode: it moves the BatchNorm statistics, also by what is not finite."""
        if self.skips:
            self._buffers = [buffer.clone() for buffer in self.model.buffers()]

    def descend(self, optimizer: Optimizer, loss: Tensor, *, name: str = "loss") -> Tensor | None:
        """One optimizer step down the gradient of `loss`: the gradient's norm, or None if it was refused."""
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [one.grad for one in self.model.parameters() if one.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.watches and self.team.all_reduce_max(not torch.isfinite(loss.detach() + norm)) != (0,):
            self.refuse(name, loss.detach())
            for buffer, before in zip(self.model.buffers(), self._buffers, strict=True):
                buffer.copy_(before)
            return None
        optimizer.step()
        return norm
