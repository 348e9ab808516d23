"""Time of a plain step and of an inhibited step, and of grouping and masking beside plain loops.

    python benchmarks/step.py [--device cpu|cuda] [--batch 16] [--grouped 32] [--precision fp32|bf16] [--repeats 7]

ResNeXt-29, 10 classes, random 32x32 images, all of them taken as classified right (the worst case). The
two steps, and the two groupings, alternate within one run, so that a drift of the machine's speed touches
both; each line gives medians, and the ratios are medians of the ratios of neighbouring measurements.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the loop oracle in tests/

from timing import add_device, hardware, in_turn, median_ratio, report

from tenet.inhibition import Inhibition, group_channels, inhibition_mask
from tenet.networks import ResNeXt
from tenet.training.loop import autocast
from tests.reference import inhibition as reference


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_device(parser)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--grouped", type=int, default=32, help="samples to group, and to mask")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = ResNeXt(num_classes=10).to(args.device).train()
    if args.device == "cuda":
        model = model.to(memory_format=torch.channels_last)
    cast = autocast(torch.device(args.device), args.precision)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, nesterov=True)
    images = torch.randn(args.batch, 3, 32, 32, device=args.device)
    labels = torch.randint(10, (args.batch,), device=args.device)
    inhibition = Inhibition(layer="stage_2")

    def plain_loss() -> torch.Tensor:
        return F.cross_entropy(model(images), labels)

    def inhibited_loss() -> torch.Tensor:
        return inhibition.step(model, images, labels).loss

    def descend(compute_loss: Callable[[], torch.Tensor]) -> None:
        with cast:
            loss = compute_loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    steps = in_turn(
        [
            lambda: descend(plain_loss),
            lambda: descend(inhibited_loss),
        ],
        repeats=args.repeats,
        device=args.device,
    )

    # Features as the network gives them: [grouped, 512, 16, 16]
    more_images = torch.randn(args.grouped, 3, 32, 32, device=args.device)
    with cast:
        features, gradients = inhibition.importance_pass(
            model, more_images, torch.arange(args.grouped, device=args.device) % 10
        )
    medoids = torch.rand(args.grouped, 512).argsort(dim=1)[:, :6].to(args.device)

    def batched() -> None:
        assignments = group_channels(features, groups=6, initial_medoids=medoids)
        inhibition_mask(features, gradients=gradients, assignments=assignments, groups=6)

    def looped() -> None:
        assignments = reference.group_channels(features, medoids)
        reference.inhibition_mask(features, gradients, assignments, 6)

    groupings = in_turn([batched, looped], repeats=max(1, args.repeats // 2), device=args.device)

    plain, inhibited = (statistics.median(times) for times in zip(*steps, strict=True))
    ours, loops = (statistics.median(times) for times in zip(*groupings, strict=True))
    ratios = {
        "inhibited_over_plain": median_ratio(steps, 1, 0),
        "grouping_over_loops": median_ratio(groupings, 0, 1),
    }
    print(
        f"{hardware(args.device)}, torch {torch.__version__}, ResNeXt-29, {args.precision}, batch {args.batch}, "
        f"medians of {args.repeats}"
    )
    print(f"  plain step                              {plain * 1e3:9.1f} ms")
    print(
        f"  inhibited step                          {inhibited * 1e3:9.1f} ms   "
        f"{ratios['inhibited_over_plain']:.2f} x plain"
    )
    shape = f"[{args.grouped}, 512, 16, 16]"
    print(f"  grouping and masking {shape:<18} {ours * 1e3:9.1f} ms")
    print(
        f"  the same by loops (tests/reference)     {loops * 1e3:9.1f} ms   "
        f"{1 / ratios['grouping_over_loops']:.1f} x ours"
    )
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
    )


if __name__ == "__main__":
    main()
