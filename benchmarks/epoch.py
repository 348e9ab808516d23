"""An epoch of TENET beside an epoch of plain training, through the training loop itself.

    python benchmarks/epoch.py [--device cpu|cuda] [--backbone resnext29] [--steps 60] [--batch 256]
        [--precision fp32|bf16] [--repeats 3]

With AugMix. The images are of one colour a class and learnt in a warm-up, so that nearly all
samples are right and the inhibited steps as dear as they can be. Both kinds of training alternate within
one run, --steps steps at a time; the projection is to the official recipe of 200 epochs of 100,000 images.
"""

import argparse
import math
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from timing import BACKBONES, build_backbone, hardware, in_turn, median_ratio, report

from tenet.augment import AugMix
from tenet.bookkeeping import Unheard
from tenet.checkpoint import Checkpoints
from tenet.data import ImageArrays, Normalization, TrainingLoader
from tenet.inhibition import Inhibition
from tenet.schedule import Constant
from tenet.training import TrainingResult, train
from tenet.training_settings import TrainingSettings

RECIPE_IMAGES = 200 * 100_000


def one_colour_a_class(images: int, device: str) -> ImageArrays:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % 10
    colours = torch.randint(256, (10, 3), generator=generator)
    pixels = colours[labels][:, None, None, :] + torch.randint(
        -20, 20, (images, 32, 32, 3), generator=generator
    )
    return ImageArrays(pixels.clamp(0, 255).to(torch.uint8), labels).to(device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backbone", choices=BACKBONES, default="resnext29")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warm-up", type=int, default=60)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = build_backbone(args.backbone).to(args.device).to(memory_format=torch.channels_last)
    # AugMix shows every image twice.
    loader = TrainingLoader(
        one_colour_a_class(args.batch * args.steps // 2, args.device),
        augmentation=AugMix(),
        normalization=Normalization(),
        batch_size=args.batch,
        seed=0,
    )

    def run(inhibition: Inhibition | None, steps: int, rate: float) -> TrainingResult:
        with tempfile.TemporaryDirectory() as folder:
            return train(
                model,
                loader=loader,
                inhibition=inhibition,
                optimizer=torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True),
                schedule=Constant(),
                settings=TrainingSettings(
                    epochs=math.ceil(steps / loader.steps_per_epoch),
                    max_steps=steps,
                    precision=args.precision,
                    channels_last=True,
                    log_every_steps=steps,
                ),
                evaluate=dict,
                tracker=Unheard(),
                checkpoints=Checkpoints(Path(folder), writes=False),
                seed=0,
            )

    run(None, args.warm_up, 0.02)
    counts: dict[str, Any] = {}

    def tenet() -> None:
        done = run(Inhibition(layer="stage_2", start_step=0), args.steps, 1e-6)
        counts["right_pct"] = 100 - done.metrics["train/error_pct"]
        counts["inhibited_steps"] = done.inhibited_steps

    rounds = in_turn([lambda: run(None, args.steps, 1e-6), tenet], repeats=args.repeats, device=args.device)
    plain, ours = (statistics.median(times) / args.steps for times in zip(*rounds, strict=True))
    hours = RECIPE_IMAGES / args.batch * ours / 3600
    ratio = median_ratio(rounds, 1, 0)
    print(f"{hardware(args.device)}, torch {torch.__version__}, {args.backbone}, {args.precision}, "
          f"batch {args.batch}, {args.steps} steps, medians of {args.repeats}")  # fmt: skip
    print(f"  plain  {plain * 1e3:9.1f} ms a step")
    print(
        f"  TENET  {ours * 1e3:9.1f} ms a step   {ratio:.2f} x plain, with "
        f"{counts['right_pct']:.1f} % of the samples right"
    )
    print(f"  20 million images, as in the official recipe: {hours:.2f} h (projected)")
    report(
        "epoch",
        device=args.device,
        ratios={"tenet_over_plain": ratio},
        backbone=args.backbone,
        batch=args.batch,
        precision=args.precision,
        steps=args.steps,
        plain_step_s=plain,
        tenet_step_s=ours,
        recipe_hours=hours,
        **counts,
    )


if __name__ == "__main__":
    main()
