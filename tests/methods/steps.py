"""Inhibited updates of a batch whose samples all count as right, with what went into them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tenet.methods import Batch, Draw, Inhibited, Method, Update, inhibited
from tenet.networks import Network


@dataclass(kw_only=True)
class AllRight(Method):
    """One update of no loss, after which the given samples count as right (default: all)."""

    correct: Tensor | None = None

    def updates(self, network: nn.Module, batch: Batch) -> Iterator[Update]:
        correct = torch.ones_like(batch.labels, dtype=torch.bool) if self.correct is None else self.correct
        yield Update(loss=torch.zeros(()), batch=batch, samples=len(batch.labels), correct=correct)


class RecordingNetwork(Network):
    """Keeps the mask, the features and the logits of its last masked forward."""

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Any:
        answer = super().forward(images, mask)
        if mask is not None:
            self.mask, (self.features, self.masked_logits) = mask, answer
        return answer


def inhibit(network: Network, images: Tensor, labels: Tensor, *, seed: int = 0, **settings: Any) -> Update:
    """The inhibited update that follows a plain one."""
    defaults = {"layer": "stage_2", "groups": 3, "start_step": 0, "interval": 1}
    method = Inhibited(method=settings.pop("method", AllRight()), **{**defaults, **settings})
    batch = Batch(images=images, labels=labels, step=1, draw=Draw(images.device, seed=seed, step=1))
    _, update = method.updates(network, batch)
    return update


def fix_medoids(monkeypatch: Any, medoids: Tensor) -> list[Tensor]:
    """Let the grouping start from `medoids`; the list receives the assignments."""
    assignments = []

    def group_channels(features: Tensor, **settings: Any) -> Tensor:
        settings["generator"] = None
        assignments.append(original(features, **settings, initial_medoids=medoids))
        return assignments[-1]

    original = inhibited.group_channels
    monkeypatch.setattr(inhibited, "group_channels", group_channels)
    return assignments
