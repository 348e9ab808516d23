"""A corruption sweep compared with the network alone: generated, and from files of the official layout.

    python benchmarks/evaluate.py [--device cpu|cuda] [--backbone resnext29] [--images 1000] [--batch 1000]
        [--precision fp32|bf16] [--repeats 3]

All 75 cells of random 32x32 images. Five things alternate within one run: the network on ready batches (the minimum),
generating the corrupted images, reading them, and the two whole sweeps. The files are written first, to a temporary
folder ($TMPDIR; 230 kB an image), so they are read from memory if they fit there. The projection is to 10,000 images a
cell, in proportion to the number of images.
"""

import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import torch
from corruptions import smooth_images
from rich.console import Console
from rich.table import Table
from timing import hardware, in_turn, make_parser, median_ratio, medians, report
from training import BACKBONES, CLASSES, make_experiment

from tenet.corruptions import CORRUPTIONS, SEVERITIES, OfficialArchive
from tenet.corruptions.generator import GeneratedCorruptions
from tenet.corruptions.write import LABELS, ArchiveWriter
from tenet.data import ImageArrays
from tenet.evaluation.classifier import Classifier

CELLS = len(CORRUPTIONS) * len(SEVERITIES)
# In the test sets of CIFAR-10 and CIFAR-100.
OFFICIAL_IMAGES = 10_000


class Ready:
    """The clean images, on their device, as every cell."""

    def __init__(self, clean: ImageArrays) -> None:
        self.clean = clean

    def cell(self, corruption: str, severity: int) -> ImageArrays:
        return self.clean


Source = Ready | GeneratedCorruptions | OfficialArchive


def write_archive(folder: Path, images: ImageArrays, *, device: str) -> OfficialArchive:
    writer = ArchiveWriter(folder, images.images, images.labels, num_classes=len(CLASSES), device=device)
    for name in (LABELS, *CORRUPTIONS):
        writer.write(name)
    return OfficialArchive(folder, classes=CLASSES)


def make_phases(
    classifier: Classifier, *, images: ImageArrays, folder: Path, device: str
) -> dict[str, Callable[[], object]]:
    """The forward comes first: the others are compared with it."""
    on_device = images.to(device)
    generator, files = GeneratedCorruptions(on_device), write_archive(folder, images, device=device)

    def fetch(source: Source) -> None:
        for name, severity in product(CORRUPTIONS, SEVERITIES):
            ids = torch.arange(len(images)).split(classifier.batch_size)
            for batch, _ in source.cell(name, severity).batches(ids):
                batch.to(device)

    def classify(source: Source) -> None:
        for name, severity in product(CORRUPTIONS, SEVERITIES):
            classifier.predict(source.cell(name, severity))

    return {
        "forward": lambda: classify(Ready(on_device)),
        "generating": lambda: fetch(generator),
        "reading": lambda: fetch(files),
        "sweep_generated": lambda: classify(generator),
        "sweep_from_files": lambda: classify(files),
    }


def print_table(times: dict[str, float], ratios: dict[str, float], *, images: int, title: str) -> None:
    table = Table(title=title, title_justify="left", title_style="")
    table.add_column(f"{CELLS} cells x {images:,} images")
    for column in ("s", "images/s", "x forward", f"s for {OFFICIAL_IMAGES:,},\nprojected"):
        table.add_column(column, justify="right")
    for name, time in times.items():
        is_sweep = name.startswith("sweep")
        table.add_row(
            name.replace("_", " "),
            f"{time:.2f}",
            f"{CELLS * images / time:,.0f}",
            f"{ratios[f'{name}_over_forward']:.3f}" if name != "forward" else "",
            f"{time * OFFICIAL_IMAGES / images:,.0f}" if is_sweep else "",
            end_section=name in ("forward", "reading"),
        )
    Console().print(table)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--backbone", choices=BACKBONES, default="resnext29")
    parser.add_argument("--images", type=int, default=1000, help="images a cell")
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    experiment = make_experiment(
        args.device, f"backbone={args.backbone}", f"trainer.precision={args.precision}",
        f"trainer.evaluation_batch_size={args.batch}", "trainer.channels_last=true",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        phases = make_phases(
            experiment.classifier,
            images=ImageArrays(smooth_images(args.images, 32), torch.randint(10, (args.images,)), CLASSES),
            folder=Path(folder),
            device=args.device,
        )
        rounds = in_turn(list(phases.values()), repeats=args.repeats, device=args.device)
    times = dict(zip(phases, medians(rounds), strict=True))
    ratios = {f"{name}_over_forward": median_ratio(rounds, i, 0) for i, name in enumerate(phases) if i > 0}
    print_table(
        times,
        ratios,
        images=args.images,
        title=f"{hardware(args.device)}, torch {torch.__version__}, {args.backbone}, {args.precision}, "
        f"medians of {args.repeats}",
    )
    report(
        "evaluate",
        device=args.device,
        ratios=ratios,
        backbone=args.backbone,
        images=args.images,
        batch=args.batch,
        precision=args.precision,
        time_s=times,
        projected_s={
            name: times[name] * OFFICIAL_IMAGES / args.images for name in times if name.startswith("sweep")
        },
    )


if __name__ == "__main__":
    main()
