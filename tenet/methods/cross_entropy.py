"""Standard training."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from tenet.methods.method import Batch, Method, Update


@dataclass(kw_only=True)
class CrossEntropy(Method):
    """One update per iteration, which minimises the cross-entropy."""

    def updates(self, network: nn.Module, batch: Batch) -> Iterator[Update]:
        logits = network(batch.images)
        targets = batch.labels if batch.targets is None else batch.targets
        loss = F.cross_entropy(logits, torch.cat([targets] * batch.views))
        yield Update(
            loss=loss,
            batch=batch,
            samples=len(batch.labels),
            terms={"loss": loss.detach()},
            correct=logits.detach()[: len(batch.labels)].argmax(dim=1) == batch.labels,
        )
