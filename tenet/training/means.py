"""Means of what updates report, over the steps since the last log."""

import torch
from torch import Tensor

from tenet.distributed import SINGLE_PROCESS, ProcessGroup
from tenet.methods.method import Update

WRONG = "wrong"


class RunningMeans:
    """Sums by name, on the device: adding never makes the host wait.

    Each update adds its terms and, if it counts in the error, its gradient norm and the predictions that were wrong. The
    terms of several processes are scaled (`ProcessGroup.loss_scale`), so that their mean is the mean over all samples;
    the gradient is the same in all of them.
    """

    def __init__(self, device: torch.device, process_group: ProcessGroup = SINGLE_PROCESS) -> None:
        self.device, self.process_group = device, process_group
        # Name -> [sum, count] of the values that were added.
        self._sums: dict[str, Tensor] = {}
        self._first_nonfinite = self._zeros(1)

    def add(self, update: Update) -> None:
        """Add an update that was taken; one that was refused, or had no samples, leaves no trace."""
        if update.is_refused or update.is_empty:
            return
        assert update.gradient_norm is not None
        for name, term in update.terms.items():
            self._add(name, term, 1)
        if update.correct is not None:
            self._add("gradient_norm", update.gradient_norm, 1)
            wrong = ~update.correct
            count: int | Tensor = update.correct.numel()
            if update.counted is not None:
                wrong, count = wrong & update.counted, update.counted.sum()
            self._add(WRONG, wrong.sum(), count)
        is_first = ~torch.isfinite(update.loss + update.gradient_norm) & (self._first_nonfinite == 0)
        self._first_nonfinite += is_first * update.batch.step

    def read(self) -> tuple[dict[str, float], int]:
        """The means over all processes by metric name, and the first step whose loss or gradient was not finite
        (0: none). The host waits for the device here."""
        metrics = {}
        for name, (total, count) in self.totals().items():
            if count == 0:  # nothing was added since the last reset
                continue
            if name == WRONG:
                metrics["train/error_pct"] = 100 * total / count
            else:
                metrics[f"train/{name}"] = total / count
        (first_nonfinite,) = self.process_group.all_reduce_max(int(self._first_nonfinite))
        return metrics, first_nonfinite

    def totals(self) -> dict[str, list[float]]:
        """Name -> [sum, count] over all processes, each of which must call this. For a checkpoint."""
        if not self._sums:
            return {}
        total = self.process_group.all_reduce_sum(torch.stack(list(self._sums.values())))
        return dict(zip(self._sums, total.tolist(), strict=True))

    def restore(self, totals: dict[str, list[float]]) -> None:
        """Continue from `totals`; every process must call this, because all of them need the same names."""
        self._sums = {name: self._zeros(2) for name in totals}
        if self.process_group.is_main_process:  # the totals already are those of all processes
            for name, values in totals.items():
                self._sums[name] += torch.tensor(values, dtype=torch.float64, device=self.device)

    def reset(self) -> None:
        for sums in self._sums.values():
            sums.zero_()
        self._first_nonfinite.zero_()

    def _add(self, name: str, value: Tensor, count: int | Tensor) -> None:
        if name not in self._sums:
            self._sums[name] = self._zeros(2)
        self._sums[name][0] += value
        self._sums[name][1] += count

    def _zeros(self, length: int) -> Tensor:
        return torch.zeros(length, dtype=torch.float64, device=self.device)
