"""Augmentations and mixings in batches, compared with one-image code in the workers of a DataLoader.

    OMP_NUM_THREADS=1 python benchmarks/originals.py [--device cpu|cuda] [--batch 128] [--batches 4] [--workers 2]
        [--repeats 7] [--only NAME ...]

Both read the same images of 32 pixels, flip, crop, augment and convert them, an epoch of --batches batches at a time, in
turn. Ours is the training loader in this process; the others are plain_augmentations.py in worker processes, which are
started once and are idle while ours is timed. Processor time is that of all processes, elapsed time depends on what else
the machine does. A ratio is the others' time by ours: above 1, ours is faster.
"""

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from corruptions import smooth_images
from PIL import Image
from plain_augmentations import pipelines
from timing import hardware, make_parser, report
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tenet import augment, mixing
from tenet.data import ImageArrays, TrainingLoader
from tenet.device import keep_freed_memory
from tenet.mixing import DataFacts

STANDARD = augment.Standard()
OURS: dict[str, Callable[[], tuple[augment.Augmentation, mixing.Mixing | None]]] = {
    "standard": lambda: (STANDARD, None),
    "cutout": lambda: (STANDARD, mixing.Cutout()),
    "autoaugment": lambda: (augment.AutoAugment(), None),
    "randaugment": lambda: (augment.RandAugment(), None),
    "trivialaugment": lambda: (augment.TrivialAugment(), None),
    "augmix": lambda: (augment.AugMix(clean_view=False), None),
    "apr": lambda: (augment.AprSingle(), None),
    "hybrid": lambda: (augment.HybridSingle(), None),
    "prime": lambda: (augment.Prime(), None),
    "pixmix": lambda: (STANDARD, mixing.PixMix()),
    "ipmix": lambda: (augment.IPMix(), None),
}
TICKS = os.sysconf("SC_CLK_TCK")


class Times(NamedTuple):
    """Seconds of an epoch."""

    processor: float
    elapsed: float


class Pictures(Dataset):
    """Pillow images from an array [image, h, w, 3], through a pipeline."""

    def __init__(self, pixels: np.ndarray, pipeline: Callable[[Image.Image], Tensor]) -> None:
        self.pixels, self.pipeline = pixels, pipeline

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.pipeline(Image.fromarray(self.pixels[index])), index % 10


def seed_numpy(_worker: int) -> None:
    np.random.seed(torch.initial_seed() % 2**32)


def processor_s(workers: Iterable[int]) -> float:
    """Of this process and of the worker processes so far."""
    total = time.process_time()
    for pid in workers:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS  # user and system
    return total


def timed(epoch: Callable[[], object], workers: Iterable[int] = ()) -> Times:
    pids = list(workers)
    processor, elapsed = processor_s(pids), time.perf_counter()
    epoch()
    return Times(processor_s(pids) - processor, time.perf_counter() - elapsed)


def measure(name: str, pixels: Tensor, theirs: Callable, args) -> tuple[list[Times], list[Times]]:
    """Times of ours and of the others, in each of the rounds after a warm-up round."""
    augmentation, mixed = OURS[name]()
    images = ImageArrays(pixels, torch.arange(len(pixels)) % 10, tuple("0123456789")).to(args.device)
    ours = TrainingLoader(
        images, augmentation=augmentation, mixing=mixed, facts=DataFacts(10, (0.5,) * 3),
        batch_size=args.batch, seed=0, device=torch.device(args.device),
    )  # fmt: skip
    loader = DataLoader(
        Pictures(pixels.numpy(), theirs), batch_size=args.batch, shuffle=True, drop_last=True,
        num_workers=args.workers, persistent_workers=True, worker_init_fn=seed_numpy,
    )  # fmt: skip

    def run_ours(epoch: int) -> None:
        for _ in ours.epoch(epoch):
            pass
        if args.device == "cuda":
            torch.cuda.synchronize()

    def run_theirs() -> None:
        for batch, _ in loader:
            batch.to(args.device)

    run_theirs()  # starts the workers
    pids = [worker.pid for worker in loader._iterator._workers]
    run_ours(0)
    rounds = [
        (timed(lambda: run_ours(epoch)), timed(run_theirs, pids))  # noqa: B023 (called at once)
        for epoch in range(1, args.repeats + 1)
    ]
    return [one for one, _ in rounds], [other for _, other in rounds]


def main() -> None:
    parser = make_parser(__doc__, precision=False)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=OURS, default=list(OURS), metavar="NAME")
    args = parser.parse_args()
    keep_freed_memory()  # as every command does
    torch.manual_seed(0)
    pixels = smooth_images(args.batch * args.batches, 32)
    plain = pipelines()
    print(
        f"{hardware(args.device)}, torch {torch.__version__}, batch {args.batch}, {args.workers} workers for the others, "
        f"medians of {args.repeats}: milliseconds a batch\n"
        "| | ours | others, processor | ratio | ours, elapsed | others, elapsed | ratio |\n|---|---|---|---|---|---|---|"
    )
    ratios = {}
    for name in args.only:
        measured = measure(name, pixels, plain[name], args)
        cells = []
        for clock in Times._fields:
            ours, theirs = ([getattr(times, clock) for times in part] for part in measured)
            ratio = median(other / own for own, other in zip(ours, theirs, strict=True))
            ms = [1e3 * median(times) / args.batches for times in (ours, theirs)]
            cells += [f"{ms[0]:.1f}", f"{ms[1]:.1f}", f"{ratio:.2f}"]
            ratios[f"{name}_{clock}"] = round(ratio, 3)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    report("originals", device=args.device, ratios={}, speedups=ratios, batch=args.batch)


if __name__ == "__main__":
    main()
