"""Several processes that train one model, as torchrun starts them: each takes a share of every batch.

Torch is imported where it is needed: a command that is alone, or has nothing to train, doesn't wait for it.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenet.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together; alone it is one, and every method the identity."""

    rank: int = 0
    size: int = 1
    # Among hosts alone: what goes through it makes no host wait for its device.
    hosts: Any = None

    @property
    def is_main_process(self) -> bool:
        """Whether this process is the one that evaluates and writes files."""
        return self.rank == 0

    def broadcast(self, value: Any) -> Any:
        """The first process's value, in all of them."""
        if self.size == 1:
            return value
        from torch.distributed import broadcast_object_list

        values = [value]
        broadcast_object_list(values, src=0, group=self.hosts)
        return values[0]

    @contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """Let the first process go through the context before the others: what it downloads is there then."""
        if not self.is_main_process:
            self.broadcast(None)
        yield
        if self.is_main_process:
            self.broadcast(None)

    def all_reduce_sum(self, values: "Tensor") -> "Tensor":
        """Added up over the processes; the argument stays as it is."""
        if self.size == 1:
            return values
        from torch.distributed import all_reduce

        total = values.clone()
        all_reduce(total)
        return total

    def all_reduce_max(self, *values: int) -> tuple[int, ...]:
        """The greatest of the processes' values, one by one."""
        if self.size == 1:
            return values
        import torch
        from torch.distributed import ReduceOp, all_reduce

        greatest = torch.tensor(values)
        all_reduce(greatest, op=ReduceOp.MAX, group=self.hosts)
        return tuple(greatest.tolist())

    def loss_scale(self, samples: int, device: "torch.device") -> "Tensor | float":
        """The factor of this process's mean over `samples`, so that the mean over the processes, which is
        what DDP makes of gradients, is the mean over all their samples."""
        if self.size == 1:
            return 1.0
        import torch

        own = torch.tensor(float(samples), device=device)
        return own * self.size / self.all_reduce_sum(own)

    def wrap(self, model: "nn.Module") -> "nn.Module":
        """The model with gradients that are averaged over the processes, in its own forward alone."""
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model)


ALONE = ProcessGroup()


def is_started_by_torchrun() -> bool:
    """Whether this is one of several processes; torchrun says so in the environment.

    Raises ConfigError where what it says there is no number.
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


def is_main_process() -> bool:
    """Whether this process is alone, or the first of its team."""
    return not is_started_by_torchrun() or os.environ["RANK"] == "0"


@contextmanager
def join(device: str) -> Iterator[ProcessGroup]:
    """The team of this process, for as long as the context lasts; ALONE without torchrun.

    device: trainer.device. Each process of a machine has a CUDA device of its own.
    Raises ConfigError if there are fewer devices than processes.
    """
    if not is_started_by_torchrun():
        yield ALONE
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
    distributed.init_process_group("nccl" if on_cuda else "gloo")
    yield ProcessGroup(
        distributed.get_rank(), distributed.get_world_size(), distributed.new_group(backend="gloo")
    )
    # Not after an error: the others would be waited for, and torchrun ends them.
    distributed.destroy_process_group()
