"""A corruption sweep beside the network alone: generated, and from files of the official layout.

    python benchmarks/evaluate.py [--device cpu|cuda] [--backbone resnext29] [--images 1000] [--batch 1000]
        [--precision fp32|bf16] [--repeats 3]

All 75 cells, of random 32x32 images. Five things alternate within one run: the network on ready batches
(the floor), making the corrupted images, reading them, and the two whole sweeps. The files are written for
it, to a temporary folder ($TMPDIR; 230 kB an image), so they are read from memory if they fit there.
The projection is to 10,000 images a cell, by images alone.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import torch
from corruptions import smooth_images
from rich.console import Console
from rich.table import Table
from timing import BACKBONES, add_device, build_backbone, hardware, in_turn, median_ratio, report
from torch import Tensor

from tenet.corruptions import CORRUPTIONS, SEVERITIES
from tenet.corruptions.sources import ArchivedCorruptions, GeneratedCorruptions
from tenet.corruptions.write import LABELS, ArchiveWriter
from tenet.data import Normalization
from tenet.evaluation.classifier import Batches, Classifier, CorruptionSource, sweep

CELLS = len(CORRUPTIONS) * len(SEVERITIES)
CLASSES = [str(number) for number in range(10)]
# Of the test set of CIFAR-10 and CIFAR-100.
OFFICIAL_IMAGES = 10_000


class Ready:
    """The clean images, on their device, in the place of every cell."""

    kind = "ready"
    names = CORRUPTIONS

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def batches(self, corruption: str, severity: int, *, batch_size: int) -> Batches:
        return zip(self.images.split(batch_size), self.labels.split(batch_size), strict=True)


def write_archive(folder: Path, images: Tensor, labels: Tensor, *, device: str) -> ArchivedCorruptions:
    writer = ArchiveWriter(folder, images, labels, num_classes=len(CLASSES), device=device)
    for name in (LABELS, *CORRUPTIONS):
        writer.write(name)
    return ArchivedCorruptions(folder, classes=CLASSES)


def make_phases(
    classifier: Classifier, *, images: Tensor, labels: Tensor, folder: Path, device: str
) -> dict[str, Callable[[], object]]:
    """The forward alone first: what the others are measured by."""
    here = images.to(device), labels.to(device)
    generator, files = GeneratedCorruptions(*here), write_archive(folder, images, labels, device=device)

    def fetch(source: CorruptionSource) -> None:
        for name, severity in product(CORRUPTIONS, SEVERITIES):
            for batch, _ in source.batches(name, severity, batch_size=classifier.batch_size):
                batch.to(device)

    def classify(source: CorruptionSource) -> None:
        for _ in sweep(classifier, source, corruptions=CORRUPTIONS, severities=SEVERITIES):
            pass

    return {
        "forward": lambda: classify(Ready(*here)),
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_device(parser)
    parser.add_argument("--backbone", choices=BACKBONES, default="resnext29")
    parser.add_argument("--images", type=int, default=1000, help="images a cell")
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    classifier = Classifier(
        build_backbone(args.backbone).to(args.device),
        Normalization(),
        args.batch,
        args.precision,
        channels_last=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        phases = make_phases(
            classifier,
            images=smooth_images(args.images, 32),
            labels=torch.randint(10, (args.images,)),
            folder=Path(folder),
            device=args.device,
        )
        rounds = in_turn(list(phases.values()), repeats=args.repeats, device=args.device)
    times = dict(zip(phases, map(statistics.median, zip(*rounds, strict=True)), strict=True))
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
