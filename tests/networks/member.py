"""One of two processes: two iterations of each family on its own images; saves the weights."""

import sys
from pathlib import Path

import torch

from tenet.distributed import join
from tenet.methods import Batch, CrossEntropy, Draw, Inhibited
from tests.networks.families import FAMILIES, make_batch, make_network


def main(folder: Path, *names: str) -> None:
    with join("cpu") as process_group:
        for name in names:
            family = FAMILIES[name]
            network = make_network(family).train()
            parallel = process_group.wrap(network)
            method = Inhibited(
                method=CrossEntropy(),
                layer=family.cut,
                groups=3,
                start_step=0,
                interval=1,
                process_group=process_group,
            )
            optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
            for step in (1, 2):
                images, labels = make_batch(family, seed=10 * step + process_group.rank)
                draw = Draw("cpu", seed=0, step=step, rank=process_group.rank)
                for update in method.updates(
                    parallel, Batch(images=images, labels=labels, step=step, draw=draw)
                ):
                    optimizer.zero_grad()
                    update.loss.backward()
                    optimizer.step()
            torch.save(network.backbone.state_dict(), folder / f"{name}-{process_group.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
