"""Processes that train a network without BatchNorm on shares of small batches, perhaps in parts, and save what it became."""

import os
import socket
from pathlib import Path
from typing import Any

import torch

from tenet.distributed import SINGLE_PROCESS, ProcessGroup, join
from tenet.methods import CrossEntropy, Free, Inhibited, Method, inhibited
from tenet.training.books import NullTracker
from tenet.training.checkpoint import Checkpoints
from tenet.training.loop import train
from tenet.training.schedule import Constant
from tenet.training.settings import TrainingSettings
from tenet.training.state import TrainingState
from tests.faults.commands import FORKS
from tests.training.smooth import CHANNELS, SmoothLoader, make_network


def train_share(
    folder: Path, process_group: ProcessGroup = SINGLE_PROCESS, *, parts: int = 1, is_free: bool = False
) -> dict:
    """is_free: by free adversarial training, whose noise each process keeps for its own samples."""
    network = make_network()
    plain: Method = CrossEntropy()
    method = Inhibited(
        method=Free(method=plain, replays=2, radius=0.1, step_size=0.06) if is_free else plain,
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
        loader=SmoothLoader(wrong_step=4, share=slice(process_group.rank, None, process_group.size)),
        schedule=Constant(),
        settings=TrainingSettings(epochs=1, accumulate=parts),
        evaluate=dict,
        tracker=NullTracker(),
        checkpoints=checkpoints,
        seed=7,
        process_group=process_group,
    )  # fmt: skip
    return {"model": network.state_dict(), "metrics": state.metrics, **method.counters()}


def train_together(folder: Path, *, processes: int, parts: int, is_free: bool = False) -> list[dict]:
    """What each process has saved. `empty_updates`: the inhibited updates in which it had no right sample."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    shared["WORLD_SIZE"] = str(processes)
    members = [
        FORKS.Process(target=_member, args=(folder, rank, shared, parts, is_free), daemon=True)
        for rank in range(processes)
    ]
    for member in members:
        member.start()
    for member in members:
        member.join(timeout=120)
    assert [member.exitcode for member in members] == [0] * processes
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(processes)]


def _member(folder: Path, rank: int, shared: dict[str, str], parts: int, is_free: bool) -> None:
    os.environ |= {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    made, empty_updates = inhibited.empty_update, 0

    def empty_update(*args: Any, **settings: Any) -> Any:
        nonlocal empty_updates
        empty_updates += 1
        return made(*args, **settings)

    inhibited.empty_update = empty_update
    with join("cpu") as process_group:
        result = train_share(folder, process_group, parts=parts, is_free=is_free)
    torch.save({**result, "empty_updates": empty_updates}, folder / f"{rank}.pt")
