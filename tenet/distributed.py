"""Several processes that train one model, as torchrun starts them: each takes a share of every batch.

Torch is imported inside the functions that need it, so that a command without training does not wait for it.
"""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenet.errors import ConfigError, UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together; in a group of one, every method is the identity."""

    rank: int = 0
    size: int = 1
    # A gloo group: its communication does not make the host wait for its device.
    cpu_group: Any = None

    @property
    def is_main_process(self) -> bool:
        """Whether this process is the one that evaluates and writes files."""
        return self.rank == 0

    def broadcast(self, value: Any) -> Any:
        """Return the main process's value in all processes."""
        if self.size == 1:
            return value
        from torch.distributed import broadcast_object_list

        values = [value]
        broadcast_object_list(values, src=0, group=self.cpu_group)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank, in all processes."""
        if self.size == 1:
            return [value]
        from torch.distributed import all_gather_object

        values: list[Any] = [None] * self.size
        all_gather_object(values, value, group=self.cpu_group)
        return values

    def share_buffers(self, network: "nn.Module") -> None:
        """Give the network the main process's buffers, such as BatchNorm's running statistics, in all processes."""
        if self.size == 1:
            return
        import torch
        from torch.distributed import broadcast

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

        return DistributedDataParallel(network)


SINGLE_PROCESS = ProcessGroup()


def is_started_by_torchrun() -> bool:
    """Whether torchrun's environment variables say that this is one of several processes.

    Raises ConfigError if one of them is not a number.
    """
    if not {"RANK", "LOCAL_RANK", "MASTER_ADDR"} <= os.environ.keys():
        return False
    counts = {name: os.environ.get(name, "1") for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    for name, value in counts.items():
        if re.fullmatch(r"[0-9]{1,9}", value) is None:
            raise ConfigError(
                f"{name}={value} in the environment: must be an integer; unset it, or use torchrun"
            )
    return int(counts["WORLD_SIZE"]) > 1


def started_processes() -> int:
    """How many processes torchrun started for this command; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if is_started_by_torchrun() else 1


def is_main_process() -> bool:
    """Whether this process is alone, or the one with rank 0."""
    return not is_started_by_torchrun() or os.environ["RANK"] == "0"


def tells_errors() -> bool:
    """Whether this process prints why a command line is refused: one of those that torchrun started on a machine."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("LOCAL_RANK", "0") == "0"


class PeerError(UserError):
    """Another process of the run has ended, so this one can't continue."""


class AlreadyToldError(UserError):
    """This process fails for a reason that another process of the run has printed."""


@contextmanager
def join(device: str) -> Iterator[ProcessGroup]:
    """The process group that torchrun started, within the context; SINGLE_PROCESS without torchrun.

    device: trainer.device. Each process of a machine gets a CUDA device of its own.
    Raises ConfigError if there are fewer devices than processes. Of errors that several processes raise, one process
    raises the error itself and the others AlreadyToldError.
    """
    if not is_started_by_torchrun():
        yield SINGLE_PROCESS
        return
    import torch
    from torch import distributed

    on_cuda = device != "cpu" and torch.cuda.is_available()
    if on_cuda:
        local_rank, devices = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= devices:
            raise ConfigError(
                f"torchrun started more processes than the {devices} CUDA devices here; lower --nproc-per-node"
            )
        torch.cuda.set_device(local_rank)
    with _end_at_sigterm():
        store, rank, size = _rendezvous()
    try:
        with _end_at_sigterm():
            distributed.init_process_group(
                "nccl" if on_cuda else "gloo", store=store, rank=rank, world_size=size
            )
            process_group = ProcessGroup(rank, size, distributed.new_group(backend="gloo"))
        yield process_group
    except Exception as error:
        raise _told_once(error, store) from error
    # Not after an error: this would wait for the other processes, which torchrun is about to end.
    distributed.destroy_process_group()


def _rendezvous() -> tuple[Any, int, int]:
    """The store that the processes share, this process's rank and the number of processes."""
    from torch.distributed import PrefixStore, rendezvous

    store, rank, size = next(rendezvous("env://"))
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # On one machine, torchrun keeps its store when it restarts the processes: without a prefix, they would find the
        # addresses of the processes that have ended. On several machines the counts may differ.
        store = PrefixStore(f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    return store, rank, size


@contextmanager
def _end_at_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process at once: a handler in Python would not run while torch waits for other processes."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _told_once(error: Exception, store: Any) -> Exception:
    """The error that this process raises for `error`, depending on what the others have recorded in `store`."""
    from torch.distributed import DistError

    # Gloo reports a lost connection as a RuntimeError with its own source file.
    is_lost = isinstance(error, DistError) or (isinstance(error, RuntimeError) and "/gloo/" in str(error))
    if is_lost:
        error = PeerError("another process of this run has ended, so this one can't continue")
    with suppress(RuntimeError):  # the store has ended, too
        others = store.add("errors", 0 if is_lost else 1)
        if (is_lost and others) or store.add(f"error {error}", 1) > 1:
            return AlreadyToldError(str(error))
    return error
