"""One of the processes that train a network without BatchNorm on multi-label samples; saves what it became."""

import sys
from pathlib import Path

import torch
from torch import nn

from tenet.distributed import SINGLE_PROCESS, ProcessGroup, join
from tenet.methods import Batch, BinaryCrossEntropy, Draw, Inhibited
from tenet.networks import Network
from tenet.training.means import RunningMeans
from tenet.training.optimizer import GuardedOptimizer

STEPS, SAMPLES, CLASSES, CHANNELS = 4, 8, 3, 4
# Of each batch; the second process has fewer samples, and far fewer labels that count.
SHARES = (slice(0, 5), slice(5, 8))


def make_batch(step: int, share: slice) -> Batch:
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(2, (SAMPLES, CLASSES), generator=generator).to(torch.int8)
    labels[5:, 1:] = -1
    if step == 2:  # nothing that could be right
        labels[5:, 0] = 0
    if step == 3:  # nothing that counts
        labels[5:] = -1
    images = torch.rand(SAMPLES, 3, 6, 6, generator=generator)
    return Batch(images=images[share], labels=labels[share], step=step, draw=Draw("cpu", seed=0, step=step))


def train(share: slice, process_group: ProcessGroup = SINGLE_PROCESS) -> dict[str, object]:
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * CHANNELS, CLASSES),
    )
    network = Network(backbone, cut="1")
    # A group for each channel: the mask does not depend on the medoids that each process draws.
    method = Inhibited(
        method=BinaryCrossEntropy(), layer="1", groups=CHANNELS, start_step=0, interval=1, weight=1.0,
        orthogonality=0.1, process_group=process_group,
    )  # fmt: skip
    optimizer = GuardedOptimizer(
        torch.optim.SGD(network.parameters(), lr=0.5),
        network,
        on_nonfinite=print,
        process_group=process_group,
    )
    means = RunningMeans(torch.device("cpu"), process_group)
    parallel = process_group.wrap(network)
    for step in range(1, STEPS + 1):
        for update in method.updates(parallel, make_batch(step, share)):
            optimizer.step(update)
            means.add(update)
    return {"weights": backbone.state_dict(), "metrics": means.read()[0], **method.counters()}


if __name__ == "__main__":
    with join("cpu") as group:
        torch.save(train(SHARES[group.rank], group), Path(sys.argv[1]) / f"{group.rank}.pt")
