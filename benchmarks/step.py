"""Time of a plain step and of an inhibited step, and of grouping and masking compared with plain loops.

    python benchmarks/step.py [--device cpu|cuda] [--batch 16] [--grouped 32] [--looped 32] [--precision fp32|bf16]
        [--repeats 7]

On CUDA also the grouping's kernel compared with its rounds: whether the groups are equal, and the time. The loops may take
fewer samples (--looped), and their time is then scaled to --grouped.

ResNeXt-29, 10 classes, random 32x32 images, all of them classified right (the worst case). The steps are those of the
training loop: the method's updates, taken by the guarded optimizer. The two steps, and the two groupings, alternate
within one run, so that a drift of the machine's speed affects both. Times are medians; ratios are medians of the
ratios of neighbouring measurements.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the loop oracle in tests/

from timing import hardware, in_turn, make_parser, median_ratio, medians, report
from training import make_rehearsal

from tenet.inhibition import group_channels, inhibition_mask
from tenet.inhibition.grouping import cluster, trusted_kernel
from tenet.methods import importance_pass
from tests.reference import inhibition as reference


def compare_kernel(features: Tensor, medoids: Tensor, *, repeats: int) -> dict[str, Any]:
    """The kernel beside the rounds of the same grouping: whether the groups are equal, and seconds of both."""
    kernel = trusted_kernel(features.device)
    if kernel is None:
        return {"kernel_equals_rounds": False}
    limits = {"max_iterations": 50, "tolerance": 1e-4}
    actions = [lambda: kernel(features, medoids, **limits), lambda: cluster(features, medoids, **limits)]
    times = in_turn(actions, repeats=repeats, device=features.device.type)
    return {
        "kernel_equals_rounds": torch.equal(*(action() for action in actions)),
        "kernel_over_rounds": median_ratio(times, 0, 1),
        "kernel_s": medians(times)[0],
        "rounds_s": medians(times)[1],
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--grouped", type=int, default=32, help="samples to group, and to mask")
    parser.add_argument("--looped", type=int, help="samples that the loops take; default: all of --grouped")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.manual_seed(0)
    rehearsal = make_rehearsal(args.device, args.precision)
    batch = rehearsal.random_batch(args.batch)
    pending = iter([""])

    def plain_step() -> None:
        nonlocal pending
        pending = rehearsal.steps(batch)
        next(pending)

    steps = in_turn([plain_step, lambda: next(pending)], repeats=args.repeats, device=args.device)

    # Real features of the network: [grouped, 512, 16, 16]
    grouped = rehearsal.random_batch(args.grouped)
    features, gradients = importance_pass(rehearsal.experiment.network, grouped.images, grouped.labels)
    medoids = torch.rand(args.grouped, 512).argsort(dim=1)[:, :6].to(args.device)
    few = slice(args.looped or args.grouped)
    scale = args.grouped / len(features[few])

    def batched() -> None:
        assignments = group_channels(features, groups=6, initial_medoids=medoids)
        inhibition_mask(features, gradients=gradients, assignments=assignments, groups=6)

    def looped() -> None:
        assignments = reference.group_channels(features[few], medoids[few])
        reference.inhibition_mask(features[few], gradients[few], assignments, 6)

    groupings = in_turn([batched, looped], repeats=max(1, args.repeats // 2), device=args.device)
    groupings = [(ours, scale * loops) for ours, loops in groupings]
    kernel = compare_kernel(features, medoids, repeats=args.repeats) if args.device == "cuda" else {}

    (plain, inhibited), (ours, loops) = medians(steps), medians(groupings)
    ratios = {
        "inhibited_over_plain": median_ratio(steps, 1, 0),
        "grouping_over_loops": median_ratio(groupings, 0, 1),
    }
    if "kernel_over_rounds" in kernel:
        ratios["kernel_over_rounds"] = kernel["kernel_over_rounds"]
    shape = f"[{args.grouped}, 512, 16, 16]"
    print(
        f"{hardware(args.device)}, torch {torch.__version__}, ResNeXt-29, {args.precision}, batch {args.batch}, "
        f"medians of {args.repeats}\n"
        f"  plain step                              {plain * 1e3:9.1f} ms\n"
        f"  inhibited step                          {inhibited * 1e3:9.1f} ms   "
        f"{ratios['inhibited_over_plain']:.2f} x plain\n"
        f"  grouping and masking {shape:<18} {ours * 1e3:9.1f} ms\n"
        f"  the same by loops (tests/reference)     {loops * 1e3:9.1f} ms   "
        f"{1 / ratios['grouping_over_loops']:.1f} x ours"
    )
    if kernel:
        print("  the kernel of the grouping beside its rounds:", kernel)
    report(
        "step",
        device=args.device,
        ratios=ratios,
        batch=args.batch,
        precision=args.precision,
        grouped=args.grouped,
        plain_step_s=plain,
        inhibited_step_s=inhibited,
        group_and_mask_s=ours,
        loop_oracle_s=loops,
        **kernel,
    )


if __name__ == "__main__":
    main()
