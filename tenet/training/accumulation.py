"""Gradient accumulation: the updates of a batch, computed in parts that take less memory than the whole."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, chain

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tenet.distributed import SINGLE_PROCESS, ProcessGroup
from tenet.methods.method import Batch, Method, Update
from tenet.networks import unwrap


def updates_in_parts(
    method: Method,
    network: nn.Module,
    batch: Batch,
    *,
    parts: int,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[Update]:
    """The updates of `method`, each with the gradient of the whole batch, which is computed in `parts` parts.

    The method runs once for each part, and all parts advance together: none continues after its first `yield` before the
    first update of every part has been computed and the weights have moved.
    """
    if parts == 1:
        yield from method.updates(network, batch)
        return
    # DistributedDataParallel does this before each forward, but not in a `no_sync` context.
    process_group.share_buffers(network)
    running = [method.updates(network, part) for part in split_batch(batch, parts, network=network)]
    while True:
        updates = (next(one, None) for one in running)
        with no_sync(network):
            first = next(updates)
        if first is None:  # all parts are at their end: each yields the same number of updates
            list(updates)  # so that the other parts, too, run the code after their last `yield`
            return
        update = AccumulatedUpdate(
            loss=first.loss, batch=batch, samples=0, name=first.name, network=network,
            parts=chain([first], updates),
        )  # fmt: skip
        yield update
        for part in update.done:
            part.is_refused, part.is_empty = update.is_refused, update.is_empty


@dataclass(kw_only=True)
class AccumulatedUpdate(Update):
    """An update whose gradient is the sum over the updates of the parts of a batch, weighted by their samples.

    parts: the forward of each part runs when the iterator reaches it, after the backward of the part before it.
    """

    network: nn.Module
    parts: Iterator[Update | None]

    def __post_init__(self) -> None:
        self.done: list[Update] = []

    def backward(self, process_group: ProcessGroup) -> Tensor:
        """Compute the gradients: the processes exchange them once, after the last part."""
        with no_sync(self.network):
            for part in self.parts:
                assert part is not None
                (part.loss * part.samples).backward()
                part.loss = part.loss.detach()
                self.done.append(part)
        self.samples = sum((part.samples for part in self.done), start=0)
        device = self.loss.device
        own = torch.as_tensor(self.samples, dtype=self.loss.dtype, device=device)
        everyone = process_group.all_reduce_sum(own)
        if not everyone:  # such as an inhibited update where no prediction was right
            self.is_empty = True
            return everyone
        gradients = [one.grad for one in self.network.parameters() if one.grad is not None]
        average_over_samples(gradients, everyone, process_group)
        # Scaled as in `Update.backward`: the mean over the processes is the mean over all samples.
        shares = [part.samples * process_group.size / everyone for part in self.done]
        self.terms = {
            name: torch.stack(
                [part.terms[name] * share for part, share in zip(self.done, shares, strict=True)]
            ).sum()
            for name in self.done[0].terms
        }
        self.loss = torch.stack([part.loss * part.samples for part in self.done]).sum() / own.clamp(min=1)
        if all(part.correct is not None for part in self.done):
            self.correct = torch.cat([part.correct for part in self.done if part.correct is not None])
        if all(part.counted is not None for part in self.done):
            self.counted = torch.cat([part.counted for part in self.done if part.counted is not None])
        return self.loss


def average_over_samples(gradients: list[Tensor], samples: Tensor, process_group: ProcessGroup) -> None:
    """Add up the gradients over the processes, and divide them by the number of samples, in place."""
    if process_group.size > 1:
        total = process_group.all_reduce_sum(torch.cat([gradient.flatten() for gradient in gradients]))
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, summed in zip(gradients, total.split(sizes), strict=True):
            gradient.copy_(summed.view(gradient.shape))
    torch._foreach_div_(gradients, samples)


def split_batch(batch: Batch, parts: int, *, network: nn.Module) -> list[Batch]:
    """A batch in at most `parts` parts of nearly equal size, each large enough for a forward in train mode."""
    _, channels, height, width = batch.images.shape
    least = unwrap(network).min_batch_size((channels, height, width))
    samples = len(batch.labels)
    parts = max(1, min(parts, samples // least))
    by_view = batch.images.unflatten(0, (batch.views, samples)).tensor_split(parts, dim=1)
    labels = batch.labels.tensor_split(parts)
    starts = [0, *accumulate(map(len, labels))]
    targets = [None] * parts if batch.targets is None else batch.targets.tensor_split(parts)
    return [
        replace(
            batch,
            images=by_view[index].flatten(0, 1),
            labels=labels[index],
            targets=targets[index],
            part=index + 1,
            start=starts[index],
            draw=partial(draw_for_part, batch, index + 1),
        )
        for index in range(parts)
    ]


def draw_for_part(batch: Batch, number: int, purpose: str) -> torch.Generator:
    return batch.draw(f"{purpose}, part {number}")


def no_sync(network: nn.Module) -> AbstractContextManager[None]:
    """A context in which DistributedDataParallel leaves the gradients of each process alone."""
    return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()
