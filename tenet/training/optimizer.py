"""Optimizer steps that leave everything unchanged where the loss or its gradient is not finite, and clip the gradient."""

from collections.abc import Callable

import torch
from torch.optim import Optimizer

from tenet.distributed import SINGLE_PROCESS, ProcessGroup
from tenet.methods.method import Update
from tenet.networks import Network
from tenet.training.schedule import Schedule, Span


class GuardedOptimizer:
    """Takes the optimizer step of each update, unless its loss or gradient is not finite.

    on_nonfinite: called with each refused update; it must raise unless the run skips such steps.
    skips: restore BatchNorm's statistics after a refused update, because its forward has moved them. The host then
        waits for every gradient. Without `skips`, updates are checked here only on the CPU, where it costs nothing;
        on other devices, `RunningMeans` finds the first step that was not finite.
    clip_norm: scale the gradient of each update to this norm, over all weights, if it is larger; None: never.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        network: Network,
        *,
        on_nonfinite: Callable[[Update], None],
        skips: bool = False,
        clip_norm: float | None = None,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.optimizer, self.network, self.process_group = optimizer, network, process_group
        self.on_nonfinite, self.skips, self.clip_norm = on_nonfinite, skips, clip_norm
        self._checks = skips or next(network.parameters()).device.type == "cpu"
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self._snapshot_buffers()

    def scale_learning_rates(self, factor: float) -> None:
        """Set the learning rate of each parameter group to `factor` times its initial one."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def follow(self, schedule: Schedule, step: int, span: Span) -> None:
        """Set learning rates and momentum to those of the schedule after `step` steps."""
        self.scale_learning_rates(schedule(step, span))
        momentum = schedule.momentum(step, span)
        for group in self.optimizer.param_groups if momentum is not None else ():
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum

    def step(self, update: Update) -> None:
        """Minimise `update.loss` by one step, and fill in the update's gradient norm, the one before clipping, or mark it as
        refused. The update keeps its loss without the graph."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = update.backward(self.process_group)
        if update.is_empty:
            return
        gradients = [one.grad for one in self.network.parameters() if one.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self._checks:
            is_finite = bool(torch.isfinite(loss + norm))
            update.is_refused = self.process_group.any(not is_finite)
        if update.is_refused:
            self.on_nonfinite(update)
            self._restore_buffers()
            return
        update.gradient_norm = norm
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.network.parameters(), self.clip_norm, norm)
        self.optimizer.step()
        self._snapshot_buffers()

    def _snapshot_buffers(self) -> None:
        if self.skips:
            self._buffers = [buffer.clone() for buffer in self.network.buffers()]

    def _restore_buffers(self) -> None:
        for buffer, before in zip(self.network.buffers(), self._buffers, strict=True):
            buffer.copy_(before)
