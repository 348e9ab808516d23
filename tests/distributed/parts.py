"""One of two processes that train a network without BatchNorm in parts, and save what it became."""

import sys
from pathlib import Path

import torch
from torch import nn

from tenet.distributed import ProcessGroup, join
from tenet.methods import Batch, CrossEntropy, Draw, Inhibited
from tenet.networks import Network
from tenet.randomness import make_generator
from tenet.training.books import NullTracker
from tenet.training.checkpoint import Checkpoints
from tenet.training.loop import train
from tenet.training.schedule import Constant
from tenet.training.settings import TrainingSettings
from tenet.training.state import TrainingState

SAMPLES, CHANNELS, STEPS = 9, 4, 6


class Loader:
    steps_per_epoch = STEPS

    def __init__(self, process_group: ProcessGroup) -> None:
        self.share = slice(process_group.rank, None, process_group.size)

    def epoch(self, epoch, *, start=0):
        for step in range(start + 1, STEPS + 1):
            generator = make_generator("cpu", seed=0, purpose="parts", step=step)
            labels = torch.randint(3, (SAMPLES,), generator=generator)
            images = torch.rand(SAMPLES, 3, 6, 6, generator=generator, dtype=torch.float64)
            images[torch.arange(SAMPLES), labels] += 0.5
            draw = Draw("cpu", seed=7, step=step)
            yield Batch(images=images[self.share], labels=labels[self.share], step=step, draw=draw)


def train_in_parts(folder: Path, process_group: ProcessGroup, *, parts: int) -> dict:
    torch.manual_seed(1)
    layers = [
        nn.Conv2d(3, CHANNELS, 3),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * CHANNELS, 3),
    ]
    network = Network(nn.Sequential(*layers), cut="1").double()
    method = Inhibited(
        method=CrossEntropy(),
        layer="1",
        groups=CHANNELS,
        interval=2,
        start_step=1,
        weight=0.5,
        process_group=process_group,
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.3, momentum=0.9)
    checkpoints = Checkpoints(folder, writes=process_group.is_main_process)
    state = TrainingState.restore(
        network, optimizer, method, checkpoints=checkpoints, process_group=process_group
    )
    train(
        state,
        loader=Loader(process_group),
        schedule=Constant(),
        settings=TrainingSettings(epochs=1, accumulate=parts),
        evaluate=dict,
        tracker=NullTracker(),
        checkpoints=checkpoints,
        seed=7,
        process_group=process_group,
    )  # fmt: skip
    return {"model": network.state_dict(), "metrics": state.metrics, **method.counters()}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with join("cpu") as process_group:
        result = train_in_parts(folder, process_group, parts=3)
    torch.save(result, folder / f"parts-{process_group.rank}.pt")
