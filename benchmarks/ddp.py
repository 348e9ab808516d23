"""A step through DistributedDataParallel in a group of one process, with and without find_unused_parameters.

    python benchmarks/ddp.py [--device cpu|cuda] [--backbone resnext29] [--batch 256] [--precision fp32|bf16]
        [--repeats 9]

Nothing is exchanged, so that what is measured is the bookkeeping alone: copying gradients into buckets, and searching the
graph for parameters without a gradient. Training uses find_unused_parameters=True (tenet/distributed/group.py).
"""

import torch
from timing import hardware, in_turn, make_parser, median_ratio, medians, report
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from training import BACKBONES, make_rehearsal

from tenet.doctor.rehearsal import Rehearsal

KINDS = {"alone": None, "find_unused": True, "fixed": False}


def wrapped(args, find_unused: bool | None) -> Rehearsal:
    rehearsal = make_rehearsal(
        args.device, args.precision, f"backbone={args.backbone}", "trainer.channels_last=true"
    )
    if find_unused is not None:
        experiment = rehearsal.experiment
        experiment.network = DistributedDataParallel(experiment.network, find_unused_parameters=find_unused)
    return rehearsal


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--backbone", choices=BACKBONES, default="resnext29")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    torch.manual_seed(0)
    backend = "nccl" if args.device == "cuda" else "gloo"
    distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)
    rehearsals = [wrapped(args, find_unused) for find_unused in KINDS.values()]
    batch = rehearsals[0].random_batch(args.batch)
    rounds = in_turn(
        [lambda rehearsal=rehearsal: list(rehearsal.steps(batch)) for rehearsal in rehearsals],
        repeats=args.repeats,
        device=args.device,
    )
    distributed.destroy_process_group()
    time_s = dict(zip(KINDS, medians(rounds), strict=True))
    print(
        f"{hardware(args.device)}, {args.backbone}, {args.precision}, batch {args.batch}: plain and inhibited step"
    )
    for name, time in time_s.items():
        print(f"  {name:<12} {time * 1e3:9.2f} ms")
    report(
        "ddp",
        device=args.device,
        ratios={
            "find_unused_over_fixed": median_ratio(rounds, 1, 2),
            "find_unused_over_alone": median_ratio(rounds, 1, 0),
        },
        backbone=args.backbone,
        batch=args.batch,
        precision=args.precision,
        time_s=time_s,
    )


if __name__ == "__main__":
    main()
