"""One of two processes that train a network without BatchNorm in parts, and save what it became."""

import sys
from pathlib import Path

import torch

from tenet.distributed import ProcessGroup, join
from tenet.methods import CrossEntropy, Free, Inhibited
from tenet.training.books import NullTracker
from tenet.training.checkpoint import Checkpoints
from tenet.training.loop import train
from tenet.training.schedule import Constant
from tenet.training.settings import TrainingSettings
from tenet.training.state import TrainingState
from tests.training.smooth import CHANNELS, SmoothLoader, make_network


def train_in_parts(folder: Path, process_group: ProcessGroup, *, parts: int) -> dict:
    network = make_network()
    method = Inhibited(
        method=Free(method=CrossEntropy(), replays=2, radius=0.1, step_size=0.06),
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
        loader=SmoothLoader(share=slice(process_group.rank, None, process_group.size)),
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
