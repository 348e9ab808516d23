"""The processes that train together, and what they communicate."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from tenet.distributed.watch import Watch


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together; in a group of one, every method is the identity.

    cpu_group: a gloo group, whose communication does not make the host wait for its device.
    watch: notes each communication.
    """

    rank: int = 0
    size: int = 1
    cpu_group: Any = None
    watch: "Watch | None" = field(default=None, compare=False)

    def _enter(self) -> None:
        if self.watch is not None:
            self.watch.entered += 1

    @property
    def is_main_process(self) -> bool:
        """Whether this process is the one that evaluates and writes files."""
        return self.rank == 0

    def broadcast(self, value: Any) -> Any:
        """Return the main process's value in all processes."""
        if self.size == 1:
            return value
        from torch.distributed import broadcast_object_list

        self._enter()
        values = [value]
        broadcast_object_list(values, src=0, group=self.cpu_group)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank, in all processes."""
        if self.size == 1:
            return [value]
        from torch.distributed import all_gather_object

        self._enter()
        values: list[Any] = [None] * self.size
        all_gather_object(values, value, group=self.cpu_group)
        return values

    def share_buffers(self, network: "nn.Module") -> None:
        """Give the network the main process's buffers, such as BatchNorm's running statistics, in all processes."""
        if self.size == 1:
            return
        import torch
        from torch.distributed import broadcast

        self._enter()
        buffers = list(network.buffers())
        # In the same order in all processes; the order of a set may differ.
        for kind in dict.fromkeys(buffer.dtype for buffer in buffers):
            alike = [buffer for buffer in buffers if buffer.dtype == kind]
            values = torch.cat([buffer.flatten() for buffer in alike])
            broadcast(values, src=0)
            sizes = [buffer.numel() for buffer in alike]
            for buffer, value in zip(alike, values.split(sizes), strict=True):
                buffer.copy_(value.view(buffer.shape))

    @contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """Let the main process run the context before the others, for example to download a file for all."""
        if not self.is_main_process:
            self.broadcast(None)
        yield
        if self.is_main_process:
            self.broadcast(None)

    def all_reduce_sum(self, values: "Tensor") -> "Tensor":
        """Return the sum over the processes; the argument stays unchanged."""
        if self.size == 1:
            return values
        from torch.distributed import all_reduce

        self._enter()
        total = values.clone()
        all_reduce(total)
        return total

    def gather_rows(self, values: "Tensor") -> "Tensor":
        """Return the values of all processes, [process, row, ...]; those with fewer rows are filled up with zeros."""
        (rows,) = self.all_reduce_max(len(values))
        everyone = values.new_zeros(self.size, rows, *values.shape[1:])
        everyone[self.rank, : len(values)] = values
        return self.all_reduce_sum(everyone)

    def all_reduce_max(self, *values: int) -> tuple[int, ...]:
        """Return, for each value, the maximum over the processes."""
        if self.size == 1:
            return values
        import torch
        from torch.distributed import ReduceOp, all_reduce

        self._enter()
        maxima = torch.tensor(values)
        all_reduce(maxima, op=ReduceOp.MAX, group=self.cpu_group)
        return tuple(maxima.tolist())

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return self.all_reduce_max(flag) != (0,)

    def loss_scale(self, samples: "int | Tensor", device: "torch.device") -> "Tensor | float":
        """Scale for this process's mean loss over `samples`.

        DistributedDataParallel averages gradients over processes; with this factor the average is over all samples,
        however unevenly they are spread.
        """
        if self.size == 1:
            return 1.0
        import torch

        own = torch.as_tensor(samples, dtype=torch.float32, device=device)
        # 0 samples in all processes: a loss of 0, not a division by 0.
        return own * self.size / self.all_reduce_sum(own).clamp(min=1)

    def wrap(self, network: "nn.Module") -> "nn.Module":
        """Return the network with gradients averaged over the processes; this holds for its own forward alone."""
        if self.size == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        # With find_unused_parameters, buckets stay as they are. Otherwise, torch would rearrange them after the first step
        # that a process takes, so that a resumed run of three or more processes would sum, and round, in another order.
        return DistributedDataParallel(network, find_unused_parameters=True)


SINGLE_PROCESS = ProcessGroup()
