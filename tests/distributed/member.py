"""One process of a team of two: trains the tiny network of the tests on its share, and saves what it became."""

import sys
from pathlib import Path

import torch

from tenet.distributed import join
from tenet.inhibition import Inhibition
from tenet.networks import ResNet
from tenet.randomness import make_generator
from tenet.training.books import NullTracker
from tenet.training.checkpoint import Checkpoints
from tenet.training.loop import train
from tenet.training.schedule import Cosine
from tenet.training.settings import TrainingSettings

STEPS = 8
LEARNING_RATE = 0.05
INHIBITION = Inhibition(layer="stage_2", groups=3, interval=2, start_step=2)
# Of each batch: the processes' shares differ in size.
SHARES = (5, 3)


def make_model() -> ResNet:
    torch.manual_seed(0)
    return ResNet(num_classes=2, depth=8, width=4)


def make_optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True)


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
            yield share(step, self.rank)


def main(folder: Path) -> None:
    model = make_model()
    with join("cpu") as team:
        result = train(
            model,
            loader=ShareLoader(team.rank),
            inhibition=INHIBITION,
            optimizer=make_optimizer(model),
            schedule=Cosine(),
            settings=TrainingSettings(epochs=1, log_every_steps=3),
            evaluate=dict,
            tracker=NullTracker(),
            checkpoints=Checkpoints(folder, writes=team.is_main_process),
            seed=7,
            team=team,
        )
    torch.save(
        {"model": model.state_dict(), "metrics": result.metrics, "inhibited_steps": result.inhibited_steps},
        folder / f"member-{team.rank}.pt",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
