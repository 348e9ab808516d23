"""Steps of every method compared with plain training, through the training loop itself.

    python benchmarks/methods.py [--device cpu|cuda] [--backbone wideresnet40] [--batch 64] [--steps 4]
        [--precision fp32|bf16] [--repeats 5] [--only NAME ...]

Plain training has crops and flips alone. All methods alternate within one run, --steps steps at a time, on random
images. The least possible ratio is the number of images that a method sends through the network for each sample; what is
above it is the method's own work (drawing, augmenting, mixing). Adversarial training stays below it, because an attack
needs no gradients of the weights.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from epoch import run
from rich.console import Console
from rich.table import Table
from timing import hardware, in_turn, make_parser, median_ratio, medians, report
from training import BACKBONES, CLASSES, make_experiment

from tenet.data import ImageArrays
from tenet.experiment import Experiment


class Case(NamedTuple):
    """forwards: images through the network for each sample."""

    overrides: Sequence[str]
    forwards: int


PLAIN = "plain"
CASES = {
    PLAIN: Case(["augment=standard"], 1),
    "cutout": Case(["augment=standard", "mixing=cutout"], 1),
    "mixup": Case(["augment=standard", "mixing=mixup"], 1),
    "cutmix": Case(["augment=standard", "mixing=cutmix", "mixing.probability=1"], 1),
    "pixmix": Case(["augment=standard", "mixing=pixmix"], 1),
    "autoaugment": Case(["augment=autoaugment"], 1),
    "trivialaugment": Case(["augment=trivialaugment"], 1),
    "augmix": Case(["augment=augmix", "augment.clean_view=false"], 1),
    "augmix+jsd": Case(["augment=augmix", "objective=jsd"], 3),
    "prime": Case(["augment=prime"], 1),
    "prime+jsd": Case(["augment=prime", "objective=jsd"], 3),
    "ipmix+jsd": Case(["augment=ipmix", "objective=jsd"], 3),
    "apr-sp": Case(["augment=apr", "mixing=apr", "mixing.probability=1"], 2),
    "hybrid++-ps": Case(["augment=hybrid", "mixing=hybrid", "mixing.probability=1"], 2),
    "fgsm-rs": Case(["augment=standard", "attack=fgsm_rs"], 2),
    "pgd-7": Case(["augment=standard", "attack=pgd"], 8),
    "trades-10": Case(["augment=standard", "attack=trades"], 13),
    # Each of its four replays moves the weights too.
    "free-4": Case(["augment=standard", "attack=free"], 4),
}


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--backbone", choices=BACKBONES, default="wideresnet40")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    return parser.parse_args()


def make_actions(args: argparse.Namespace, names: Sequence[str]) -> list[Callable[[], object]]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (args.batch * args.steps, 32, 32, 3), dtype=torch.uint8, generator=generator)
    images = ImageArrays(pixels, torch.arange(len(pixels)) % len(CLASSES), CLASSES)

    def action_of(experiment: Experiment) -> Callable[[], object]:
        return lambda: run(experiment)

    experiments = [
        make_experiment(
            args.device, f"backbone={args.backbone}", "tenet=none", "optimizer.lr=1e-6",
            f"trainer.precision={args.precision}", "trainer.channels_last=true", f"trainer.batch_size={args.batch}",
            f"trainer.log_every_steps={args.steps}", "trainer.epochs=1", f"trainer.max_steps={args.steps}",
            *CASES[name].overrides, images=images,
        )
        for name in names
    ]  # fmt: skip
    for experiment in experiments[1:]:
        experiment.network = experiments[0].network
    return [action_of(experiment) for experiment in experiments]


def main() -> None:
    args = parse_arguments()
    torch.manual_seed(0)
    names = list(dict.fromkeys([PLAIN, *args.only]))
    rounds = in_turn(make_actions(args, names), repeats=args.repeats, device=args.device)
    step_ms = {name: 1e3 * time / args.steps for name, time in zip(names, medians(rounds), strict=True)}
    over_plain = {name: median_ratio(rounds, index, 0) for index, name in enumerate(names)}
    table = Table(
        title=f"{hardware(args.device)}, torch {torch.__version__}, {args.backbone}, {args.precision}, batch {args.batch}, "
        f"medians of {args.repeats}",
        title_justify="left",
        title_style="",
    )
    for column in ("method", "ms a step", "x plain", "least", "above the least"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for name in names:
        ratio, least = over_plain[name], CASES[name].forwards
        table.add_row(name, f"{step_ms[name]:.1f}", f"{ratio:.2f}", str(least), f"{ratio / least:.2f}")
    Console().print(table)
    report(
        "methods",
        device=args.device,
        ratios={f"{name}_over_plain": ratio for name, ratio in over_plain.items() if name != PLAIN},
        backbone=args.backbone,
        batch=args.batch,
        precision=args.precision,
        step_ms=step_ms,
        forwards={name: CASES[name].forwards for name in names},
    )


if __name__ == "__main__":
    main()
