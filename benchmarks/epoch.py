"""An epoch of TENET beside an epoch of plain training, through the training loop itself.

    python benchmarks/epoch.py [--device cpu|cuda] [--backbone resnext29] [--steps 60] [--batch 256]
        [--precision fp32|bf16] [--compile] [--repeats 3]

With AugMix. The images are of one colour a class and learnt in a warm-up, so that nearly all
samples are right and the inhibited steps as dear as they can be. Both kinds of training alternate within
one run, --steps steps at a time; the projection is to the official recipe of 200 epochs of 100,000 images.
--compile adds both with network and AugMix compiled (`trainer.compile=true`), beside the others.
"""

import argparse
import contextlib
import copy
import math
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import BACKBONES, add_device, build_backbone, hardware, in_turn, median_ratio, report

from tenet.augment import AugMix
from tenet.data import ImageArrays, Normalization, TrainingLoader
from tenet.inhibition import Inhibition
from tenet.training.books import NullTracker
from tenet.training.checkpoint import Checkpoints
from tenet.training.loop import TrainingResult, compile_stages, train
from tenet.training.schedule import Constant
from tenet.training.settings import TrainingSettings

RECIPE_IMAGES = 200 * 100_000
LEARNING, STANDING = 0.02, 1e-6  # learning rates


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
    add_device(parser)
    parser.add_argument("--backbone", choices=BACKBONES, default="resnext29")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warm-up", type=int, default=60)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    arrays = one_colour_a_class(args.batch * args.steps // 2, args.device)  # AugMix shows every image twice

    def run(
        model: Any, augmentation: AugMix, *, inhibition: Inhibition | None, steps: int, rate: float
    ) -> TrainingResult:
        loader = TrainingLoader(
            arrays, augmentation=augmentation, normalization=Normalization(), batch_size=args.batch, seed=0
        )
        # Standard output is the table's.
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            return train(
                model,
                loader=loader,
                inhibition=inhibition,
                optimizer=torch.optim.SGD(
                    model.parameters(), lr=rate, momentum=0.9, nesterov=True, fused=args.device == "cuda"
                ),
                schedule=Constant(),
                settings=TrainingSettings(
                    epochs=math.ceil(steps / loader.steps_per_epoch),
                    max_steps=steps,
                    precision=args.precision,
                    channels_last=True,
                    log_every_steps=steps,
                ),
                evaluate=dict,
                tracker=NullTracker(),
                checkpoints=Checkpoints(Path(folder), writes=False),
                seed=0,
            )

    inhibition = Inhibition(layer="stage_2", start_step=0)
    model = build_backbone(args.backbone).to(args.device).to(memory_format=torch.channels_last)
    run(model, AugMix(), inhibition=None, steps=args.warm_up, rate=LEARNING)
    kinds = {"": (model, AugMix())}
    if args.compile:
        compiled, augmentation = copy.deepcopy(model), AugMix()
        compile_stages(compiled, batch_size=args.batch)
        if args.device == "cuda":  # as train.py does
            augmentation.compile()
        kinds["compiled "] = (compiled, augmentation)
    results: dict[str, TrainingResult] = {}

    def steps_of(name: str, subject: tuple[Any, AugMix], inhibition: Inhibition | None) -> Callable[[], None]:
        def steps() -> None:
            results[name] = run(*subject, inhibition=inhibition, steps=args.steps, rate=STANDING)

        return steps

    actions = {
        f"{kind}{method}": steps_of(f"{kind}{method}", subject, chosen)
        for kind, subject in kinds.items()
        for method, chosen in {"plain": None, "TENET": inhibition}.items()
    }
    rounds = in_turn(list(actions.values()), repeats=args.repeats, device=args.device)
    step_s = {
        name: statistics.median(times) / args.steps
        for name, times in zip(actions, zip(*rounds, strict=True), strict=True)
    }
    over_plain = {name: median_ratio(rounds, index, 0) for index, name in enumerate(actions)}
    recipe_hours = {name: RECIPE_IMAGES / args.batch * each / 3600 for name, each in step_s.items()}
    right_pct = 100 - results["TENET"].metrics["train/error_pct"]
    ratios = {"tenet_over_plain": over_plain["TENET"]}
    if args.compile:
        ratios["compiled_tenet_over_compiled_plain"] = median_ratio(rounds, 3, 2)
        ratios["compiled_tenet_over_tenet"] = median_ratio(rounds, 3, 1)
    print(f"{hardware(args.device)}, torch {torch.__version__}, {args.backbone}, {args.precision}, "
          f"batch {args.batch}, {args.steps} steps, {right_pct:.1f} % of the samples right, "
          f"medians of {args.repeats}")  # fmt: skip
    print("                   ms a step   x plain   20 million images (the official recipe), projected")
    for name in actions:
        print(f"  {name:<16} {step_s[name] * 1e3:9.1f} {over_plain[name]:9.2f}   {recipe_hours[name]:.2f} h")
    report(
        "epoch",
        device=args.device,
        ratios=ratios,
        backbone=args.backbone,
        batch=args.batch,
        precision=args.precision,
        steps=args.steps,
        right_pct=right_pct,
        inhibited_steps=results["TENET"].inhibited_steps,
        step_s=step_s,
        recipe_hours=recipe_hours,
    )


if __name__ == "__main__":
    main()
