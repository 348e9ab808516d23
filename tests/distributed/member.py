"""One of two processes: trains the tiny network of the tests on its share, and saves what it became."""

import itertools
import sys
from pathlib import Path
from typing import Any

import torch

from tenet.distributed import SINGLE_PROCESS, ProcessGroup, join
from tenet.methods import Batch, CrossEntropy, Draw, Inhibited, inhibited
from tenet.networks import Network, ResNet
from tenet.randomness import make_generator
from tenet.training.books import NullTracker
from tenet.training.checkpoint import Checkpoints
from tenet.training.loop import train
from tenet.training.schedule import Cosine
from tenet.training.settings import TrainingSettings
from tenet.training.state import TrainingState

STEPS = 8
LEARNING_RATE = 0.05
# Of each batch: the processes' shares differ in size.
SHARES = (5, 3)


def make_model() -> ResNet:
    torch.manual_seed(0)
    return ResNet(num_classes=2, depth=8, width=4)


def make_optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True)


def make_method(process_group: ProcessGroup = SINGLE_PROCESS) -> Inhibited:
    return Inhibited(
        method=CrossEntropy(),
        layer="stage_2",
        groups=3,
        interval=2,
        start_step=2,
        process_group=process_group,
    )


def share(step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The images and labels of one process at a step counted from 0. The second process's labels
    are false at the end, so that at some inhibited step it has no right sample."""
    generator = make_generator("cpu", seed=0, purpose="team", step=step, rank=rank)
    labels = torch.randint(2, (SHARES[rank],), generator=generator)
    images = torch.randn(SHARES[rank], 3, 8, 8, generator=generator) + 2 * labels[:, None, None, None]
    return images, 1 - labels if rank == 1 and step >= 3 else labels


class ShareLoader:
    steps_per_epoch = STEPS

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def epoch(self, epoch, *, start=0):
        for step in range(start, STEPS):
            images, labels = share(step, self.rank)
            draw = Draw("cpu", seed=7, step=step + 1, rank=self.rank)
            yield Batch(images=images, labels=labels, step=step + 1, draw=draw)


def spoil_features(*, step: int) -> None:
    """Let the grouping of one step find features that are not finite."""
    original, calls = inhibited.group_channels, itertools.count(2, 2)

    def group_channels(features: torch.Tensor, **settings: Any) -> torch.Tensor:
        return original(features * (torch.nan if next(calls) == step else 1), **settings)

    inhibited.group_channels = group_channels


def main(folder: Path, on_nonfinite: str | None = None) -> None:
    """on_nonfinite: the second process has features that are not finite at step 4, which is inhibited."""
    backbone = make_model()
    network = Network(backbone, mean=[0.0] * 3, std=[1.0] * 3, cut="stage_2")
    with join("cpu") as process_group:
        checkpoints = Checkpoints(folder, writes=process_group.is_main_process)
        state = TrainingState.restore(
            network,
            make_optimizer(network),
            make_method(process_group),
            checkpoints=checkpoints,
            process_group=process_group,
        )
        if on_nonfinite is not None and process_group.rank == 1:
            spoil_features(step=4)
        train(
            state,
            loader=ShareLoader(process_group.rank),
            schedule=Cosine(),
            settings=TrainingSettings(epochs=1, log_every_steps=3, on_nonfinite=on_nonfinite or "stop"),
            evaluate=dict,
            tracker=NullTracker(),
            checkpoints=checkpoints,
            seed=7,
            process_group=process_group,
        )
    content = {"model": backbone.state_dict(), "metrics": state.metrics, **state.method.counters()}
    content["nonfinite_steps"] = state.nonfinite_steps
    torch.save(content, folder / f"member-{process_group.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
