"""Time of a plain step and of an inhibited step, and of grouping and masking beside plain loops.

    python benchmarks/step.py [--device cpu|cuda] [--batch 16] [--repeats 7]

ResNeXt-29, 10 classes, random 32x32 images, all of them taken as classified right (the worst case). The
two steps, and the two groupings, alternate within one run, so that a drift of the machine's speed touches
both; each line gives medians, and the ratios are medians of the ratios of neighbouring measurements.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the loop oracle in tests/

from tenet.backbones import ResNeXt
from tenet.inhibition import Inhibition, group_channels, inhibition_mask
from tests.reference import inhibition as reference


def measure(
    first: Callable[[], object], second: Callable[[], object], *, repeats: int, device: str
) -> list[tuple]:
    """Seconds of the two, in turn, `repeats` times after one round that does not count."""

    def seconds(action: Callable[[], object]) -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        action()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    pairs = [(seconds(first), seconds(second)) for _ in range(repeats + 1)]
    return pairs[1:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"]
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = ResNeXt(num_classes=10).to(args.device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, nesterov=True)
    images = torch.randn(args.batch, 3, 32, 32, device=args.device)
    labels = torch.randint(10, (args.batch,), device=args.device)
    inhibition = Inhibition(layer="stage_2")

    def descend(loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    steps = measure(
        lambda: descend(F.cross_entropy(model(images), labels)),
        lambda: descend(inhibition.step(model, images, labels).loss),
        repeats=args.repeats,
        device=args.device,
    )

    # Features as the network gives them: [32, 512, 16, 16]
    more_images = torch.randn(32, 3, 32, 32, device=args.device)
    features, gradients = inhibition.importance_pass(
        model, more_images, torch.arange(32, device=args.device) % 10
    )
    medoids = torch.rand(32, 512).argsort(dim=1)[:, :6].to(args.device)

    def batched() -> None:
        assignments = group_channels(features, groups=6, initial_medoids=medoids)
        inhibition_mask(features, gradients=gradients, assignments=assignments, groups=6)

    def looped() -> None:
        assignments = reference.group_channels(features, medoids)
        reference.inhibition_mask(features, gradients, assignments, 6)

    groupings = measure(batched, looped, repeats=max(1, args.repeats // 2), device=args.device)

    hardware = (
        torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    )
    plain, inhibited = (statistics.median(times) for times in zip(*steps, strict=True))
    ours, loops = (statistics.median(times) for times in zip(*groupings, strict=True))
    result: dict[str, Any] = {
        "hardware": hardware,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "batch": args.batch,
        "plain_step_s": plain,
        "inhibited_step_s": inhibited,
        "inhibited_over_plain": statistics.median(b / a for a, b in steps),
        "group_and_mask_s": ours,
        "loop_oracle_s": loops,
        "oracle_over_batched": statistics.median(b / a for a, b in groupings),
    }
    print(f"{hardware}, torch {torch.__version__}, ResNeXt-29, batch {args.batch}, medians of {args.repeats}")
    ratios = result["inhibited_over_plain"], result["oracle_over_batched"]
    print(f"  plain step                              {plain * 1e3:9.1f} ms")
    print(f"  inhibited step                          {inhibited * 1e3:9.1f} ms   {ratios[0]:.2f} x plain")
    print(f"  grouping and masking [32, 512, 16, 16]  {ours * 1e3:9.1f} ms")
    print(f"  the same by loops (tests/reference)     {loops * 1e3:9.1f} ms   {ratios[1]:.1f} x ours")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
