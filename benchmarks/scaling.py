"""What the exchange of gradients between processes costs: a table from its inputs, or a measurement on the CPU.

    python benchmarks/scaling.py [--gpus 8 64 512] [--batch 32 256] [--images-per-s 938] [--nvlink 300] [--network 25]
    torchrun --standalone --nproc-per-node 2 benchmarks/scaling.py [--backbone resnet8] [--batch 32] [--repeats 9]

The first form computes and measures nothing: docs/scaling.md has the formulas and the sources of the default inputs. The
second alternates, in all processes together, steps that exchange gradients with steps that do not.
"""

from typing import NamedTuple

import torch
from timing import hardware, in_turn, make_parser, median_ratio, medians, report
from torch.utils.flop_counter import FlopCounterMode
from training import BACKBONES, make_experiment

from tenet.distributed import ProcessGroup, is_started_by_torchrun, join
from tenet.doctor.rehearsal import Rehearsal, refuse
from tenet.experiment.backbone import build_on_meta
from tenet.training.optimizer import GuardedOptimizer

NETWORKS = {"resnext29": (10, 32), "resnet50": (1000, 224)}
# GPUs of one machine, which NVLink connects.
MACHINE = 8
# Two of the three passes of a step are the backward pass, in which DistributedDataParallel exchanges gradients.
BACKWARD = 2 / 3
# Every third iteration has an inhibited step of 1.48 plain ones (docs/performance.md).
INTERVAL, INHIBITED = 3, 1.48


class Network(NamedTuple):
    """parameters and buffers: bytes in float32. operations: of a forward pass of one image."""

    parameters: int
    buffers: int
    operations: int


def count(backbone: str) -> Network:
    classes, size = NETWORKS[backbone]
    config = make_experiment("cpu", f"backbone={backbone}", "tenet=none").config
    network = build_on_meta(config["backbone"], num_classes=classes).eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, size, size, device="meta"))
    parameters, buffers = (
        4 * sum(one.numel() for one in tensors) for tensors in (network.parameters(), network.buffers())
    )
    return Network(parameters, buffers, counter.get_total_flops())


def exchange_s(size: int, gpus: int, *, bandwidth: float) -> float:
    """Seconds of the all-reduce of `size` bytes: each of n GPUs sends and receives 2 (n - 1) / n of them."""
    return size * 2 * (gpus - 1) / gpus / bandwidth


def efficiency(step: float, exchange: float, *, hides: bool, inhibits: bool) -> float:
    """The time of the steps without an exchange, divided by that with it. hides: behind the backward pass."""
    visible = max(0.0, exchange - BACKWARD * step) if hides else exchange
    steps, exchanges = (INTERVAL + INHIBITED, INTERVAL + 1) if inhibits else (1, 1)
    return steps * step / (steps * step + exchanges * visible)


def print_table(args) -> None:
    networks = {name: count(name) for name in NETWORKS}
    operations_per_s = args.images_per_s * networks["resnet50"].operations
    for name, network in networks.items():
        print(
            f"{name}: {network.parameters / 1e6:.1f} MB of gradients, {network.buffers / 1e6:.2f} MB of buffers, ",
            end="",
        )
        print(f"{network.operations / 1e9:.2f} G operations a forward pass")
    print(
        f"{'network':<10} {'batch a GPU':>11} {'GPUs':>5} {'step ms':>8} {'exchange ms':>11}   efficiency: plain      TENET"
    )
    figures = {}
    for name, network in networks.items():
        for batch in args.batch:
            step = batch * network.operations / operations_per_s
            for gpus in args.gpus:
                bandwidth = 1e9 * (args.nvlink if gpus <= MACHINE else args.network)
                exchange = exchange_s(network.parameters, gpus, bandwidth=bandwidth)
                found = [
                    efficiency(step, exchange, hides=hides, inhibits=inhibits)
                    for inhibits in (False, True)
                    for hides in (False, True)
                ]
                figures[f"{name}, {batch}, {gpus}"] = found
                plain, tenet = (
                    f"{100 * low:3.0f} - {100 * high:3.0f} %" for low, high in (found[:2], found[2:])
                )
                row = f"{name:<10} {batch:>11} {gpus:>5} {step * 1e3:>8.1f} {exchange * 1e3:>11.2f}"
                print(f"{row}            {plain}  {tenet}")
    report("scaling", device="none", ratios={}, efficiency=figures)


def measure(args, process_group: ProcessGroup) -> None:
    alone, together = (Rehearsal(make_experiment("cpu", f"backbone={args.backbone}")) for _ in range(2))
    batch = alone.random_batch(args.batch[0])
    experiment = together.experiment
    experiment.process_group = process_group  # before the method is built
    network = experiment.network
    together.optimizer = GuardedOptimizer(
        experiment.optimizer, network, on_nonfinite=refuse, process_group=process_group
    )
    together.optimizer.scale_learning_rates(0.0)
    experiment.network = process_group.wrap(network)
    gradients = torch.zeros(sum(one.numel() for one in network.parameters()))
    pending = iter([""])

    def start(rehearsal: Rehearsal) -> None:
        nonlocal pending
        pending = rehearsal.steps(batch)
        next(pending)

    rounds = in_turn(
        [
            lambda: start(alone),
            lambda: next(pending),
            lambda: start(together),
            lambda: next(pending),
            lambda: process_group.all_reduce_sum(gradients),
        ],
        repeats=args.repeats, device="cpu", wall=True,
    )  # fmt: skip
    if not process_group.is_main_process:
        return
    ratios = {
        "plain_exchanged_over_alone": median_ratio(rounds, 2, 0),
        "inhibited_exchanged_over_alone": median_ratio(rounds, 3, 1),
        "all_reduce_over_plain_alone": median_ratio(rounds, 4, 0),
    }
    names = (
        "plain step",
        "inhibited step",
        "plain step, exchanged",
        "inhibited step, exchanged",
        "all-reduce",
    )
    print(
        f"{hardware('cpu')}, {process_group.size} processes, {args.backbone}, {args.batch[0]} images in each"
    )
    for name, time in zip(names, medians(rounds), strict=True):
        print(f"  {name:<26} {time * 1e3:8.1f} ms")
    print(f"  gradients: {gradients.nbytes / 1e6:.2f} MB")
    report("scaling", device="cpu", ratios=ratios, processes=process_group.size, backbone=args.backbone)


def main() -> None:
    parser = make_parser(__doc__, precision=False)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 256], help="images of each process")
    parser.add_argument("--images-per-s", type=float, default=938.0, help="ResNet-50's training on one GPU")
    parser.add_argument(
        "--nvlink", type=float, default=300.0, help="GB/s that leave a GPU for others of its machine"
    )
    parser.add_argument("--network", type=float, default=25.0, help="GB/s that leave a machine")
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet8")
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    if not is_started_by_torchrun():
        print_table(args)
        return
    with join("cpu") as process_group:
        measure(args, process_group)


if __name__ == "__main__":
    main()
