"""An epoch of TENET compared with an epoch of plain training, through the training loop itself.

    python benchmarks/epoch.py [--device cpu|cuda] [--backbone resnext29] [--steps 60] [--batch 256]
        [--precision fp32|bf16] [--compile] [--repeats 3]

With AugMix. Each class has a colour of its own, which the network learns in a warm-up, so that nearly all samples are
right and the inhibited steps are as costly as they can be. Both kinds of training alternate within one run, --steps
steps at a time. The projection is to the official recipe of 200 epochs of 100,000 images. --compile adds both with
network and AugMix compiled (`trainer.compile=true`).
"""

import contextlib
import copy
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from timing import hardware, in_turn, make_parser, median_ratio, medians, report
from training import BACKBONES, CLASSES, make_experiment

from tenet.data import ImageArrays
from tenet.experiment import Experiment
from tenet.networks import compile_network
from tenet.training.books import NullTracker
from tenet.training.checkpoint import Checkpoints
from tenet.training.loop import train
from tenet.training.schedule import Constant
from tenet.training.state import TrainingState

RECIPE_IMAGES = 200 * 100_000
LEARNING, STANDING = 0.02, 1e-6  # learning rates


def one_colour_a_class(images: int) -> ImageArrays:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % 10
    colours = torch.randint(256, (10, 3), generator=generator)
    pixels = colours[labels][:, None, None, :] + torch.randint(
        -20, 20, (images, 32, 32, 3), generator=generator
    )
    return ImageArrays(pixels.clamp(0, 255).to(torch.uint8), labels, CLASSES)


def run(experiment: Experiment) -> TrainingState:
    """Train from step 0, without evaluation and checkpoints."""
    method = experiment.method
    method.restore_counters(dict.fromkeys(method.counters(), 0))
    # Standard output is for the table.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        checkpoints = Checkpoints(Path(folder), writes=False)
        state = experiment.restore(checkpoints)
        train(
            state,
            loader=experiment.loader,
            schedule=Constant(),
            settings=experiment.settings,
            evaluate=dict,
            tracker=NullTracker(),
            checkpoints=checkpoints,
            seed=0,
        )
    return state


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--backbone", choices=BACKBONES, default="resnext29")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warm-up", type=int, default=60)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    images = one_colour_a_class(args.batch * args.steps // 2)  # AugMix shows every image twice

    def experiment_of(tenet: str, *, rate: float = STANDING, steps: int = args.steps) -> Experiment:
        return make_experiment(
            args.device, f"backbone={args.backbone}", f"tenet={tenet}", f"optimizer.lr={rate}",
            f"trainer.precision={args.precision}", "trainer.channels_last=true",
            f"trainer.batch_size={args.batch}", f"trainer.log_every_steps={steps}",
            f"trainer.epochs={math.ceil(steps / args.steps)}", f"trainer.max_steps={steps}", images=images,
        )  # fmt: skip

    experiments = {"plain": experiment_of("none"), "TENET": experiment_of("inhibition")}
    warm_up = experiment_of("none", rate=LEARNING, steps=args.warm_up)
    network = experiments["TENET"].network  # it has the cut
    for experiment in (*experiments.values(), warm_up):
        experiment.network = network
    run(warm_up)
    if args.compile:
        compiled = {"plain": experiment_of("none"), "TENET": experiment_of("inhibition")}
        twin = copy.deepcopy(network)
        compile_network(twin, batch_size=args.batch)
        for name, experiment in compiled.items():
            experiment.network = twin
            if args.device == "cuda":  # as train.py does
                experiment.augmentation.compile()
            experiments[f"compiled {name}"] = experiment
    states: dict[str, TrainingState] = {}

    def steps_of(name: str) -> Callable[[], None]:
        def steps() -> None:
            states[name] = run(experiments[name])

        return steps

    rounds = in_turn([steps_of(name) for name in experiments], repeats=args.repeats, device=args.device)
    step_s = {name: time / args.steps for name, time in zip(experiments, medians(rounds), strict=True)}
    over_plain = {name: median_ratio(rounds, index, 0) for index, name in enumerate(experiments)}
    recipe_hours = {name: RECIPE_IMAGES / args.batch * each / 3600 for name, each in step_s.items()}
    right_pct = 100 - states["TENET"].metrics["train/error_pct"]
    ratios = {"tenet_over_plain": over_plain["TENET"]}
    if args.compile:
        ratios["compiled_tenet_over_compiled_plain"] = median_ratio(rounds, 3, 2)
        ratios["compiled_tenet_over_tenet"] = median_ratio(rounds, 3, 1)
    print(f"{hardware(args.device)}, torch {torch.__version__}, {args.backbone}, {args.precision}, "
          f"batch {args.batch}, {args.steps} steps, {right_pct:.1f} % of the samples right, "
          f"medians of {args.repeats}")  # fmt: skip
    print("                   ms a step   x plain   20 million images (the official recipe), projected")
    for name in experiments:
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
        inhibited_steps=states["TENET"].method.counters()["inhibited_steps"],
        step_s=step_s,
        recipe_hours=recipe_hours,
    )


if __name__ == "__main__":
    main()
