"""Images from disk: decoding, cropping and augmenting them, compared with torchvision's ImageFolder in a DataLoader.

Also the share of the time that training waits for images, and how long it takes to list files. JPEG files like
ImageNet's (500 x 375 pixels, quality 90) are written first; all reading is from memory, where the system keeps them.

    python benchmarks/images.py --images 600 --workers 0 1 2
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import hardware, in_turn, make_parser, median_ratio, medians, report, seconds
from torch import Tensor
from training import make_experiment

from tenet.augment import Standard
from tenet.data import ImageFolders, Images, Splits, TrainingLoader, index_folder
from tenet.doctor.hardware import usable_cores
from tenet.doctor.rehearsal import Rehearsal

SIZE, QUALITY, CLASSES, CROP = (500, 375), 90, 10, 224


def write_tree(root: Path, images: int) -> None:
    """JPEG files of smooth noise, about as large as ImageNet's."""
    for label in range(CLASSES):
        (root / "train" / f"class_{label}").mkdir(parents=True)
    with multiprocessing.Pool(usable_cores()) as pool:
        pool.map(partial(write_image, root), range(images), chunksize=16)


def write_image(root: Path, image: int) -> None:
    generator = np.random.default_rng(image)
    coarse = generator.integers(256, size=(SIZE[1] // 4, SIZE[0] // 4, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC), dtype=np.int16)
    noisy = smooth + generator.integers(-12, 13, size=smooth.shape, dtype=np.int16)
    path = root / "train" / f"class_{image % CLASSES}" / f"{image}.jpg"
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=QUALITY)


def open_images(root: Path, *, workers: int) -> Images:
    dataset = ImageFolders(path=str(root), crop=CROP, workers=workers)
    return dataset.open(index_folder(root / "train"))


def ours(source: Images, *, batch: int, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch of augmented images on the device, as the training loop gets it."""
    loader = TrainingLoader(
        source.for_training(0).to(device),
        augmentation=Standard(padding=0),
        batch_size=batch,
        seed=0,
        device=device,
    )
    return ((each.images, each.labels) for each in loader.epoch(0))


def torchvisions(root: Path, *, workers: int, batch: int, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """The same with torchvision's own parts, as its reference recipe puts them together."""
    from torchvision import datasets, transforms

    steps = [
        transforms.RandomResizedCrop(CROP),
        transforms.RandomHorizontalFlip(),
        transforms.PILToTensor(),
        transforms.ConvertImageDtype(torch.float),
    ]
    folder = datasets.ImageFolder(str(root / "train"), transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(
        folder, batch, shuffle=True, num_workers=workers, pin_memory=device == "cuda"
    )
    for images, labels in loader:
        yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def exhaust(batches: Iterator[tuple[Tensor, Tensor]]) -> None:
    for _ in batches:
        pass


def waiting_share(root: Path, args: argparse.Namespace, *, workers: int) -> float:
    """The share of the time of `args.steps` steps in which training waits for the next batch; percent."""
    source = open_images(root, workers=workers)
    backbone = (f"backbone={args.backbone}", f"trainer.batch_size={args.batch}", "augment.padding=0")
    experiment = make_experiment(args.device, "tenet=none", "augment=standard", *backbone)
    experiment.splits = Splits(source, None, source)
    rehearsal, waited, start = Rehearsal(experiment), 0.0, time.perf_counter()
    batches = experiment.loader.epoch(0)
    for _ in range(args.steps):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        list(rehearsal.steps(batch))
        if args.device == "cuda":
            torch.cuda.synchronize()
    return 100 * waited / (time.perf_counter() - start)


def time_listing(files: int) -> dict[str, float]:
    """Seconds to list files in folders of 1,000, and to look at their sizes and times."""
    with tempfile.TemporaryDirectory() as folder:
        for label in range(-(-files // 1000)):
            (Path(folder) / f"n{label:08d}").mkdir()
            for image in range(1000):
                (Path(folder) / f"n{label:08d}" / f"n{label:08d}_{image}.JPEG").touch()
        index = index_folder(folder)
        listing = [seconds(lambda: index_folder(folder), device="cpu", wall=True) for _ in range(3)]
        stamps = [seconds(index.fingerprint, device="cpu", wall=True) for _ in range(3)]
    per_image = index.nbytes / len(index)
    print(
        f"{len(index):,} files: listed in {statistics.median(listing):.2f} s, their sizes and times read in "
        f"{statistics.median(stamps):.2f} s, {per_image:.0f} bytes an image in memory"
    )
    return {
        "listing_s": statistics.median(listing),
        "stamps_s": statistics.median(stamps),
        "bytes": per_image,
    }


def main() -> None:
    parser = make_parser(__doc__, precision=False)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--backbone", default="resnet8", help="whose training waits for the images")
    parser.add_argument("--steps", type=int, default=20, help="how many steps of it")
    parser.add_argument("--files", type=int, default=100_000, help="how many files are listed")
    args = parser.parse_args()
    ratios, speeds, waiting = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_tree(root, args.images)
        size = sum(path.stat().st_size for path in root.rglob("*.jpg")) / args.images
        print(
            f"{hardware(args.device)}, {args.images} images of {SIZE[0]} x {SIZE[1]}, {size / 1e3:.0f} kB each"
        )
        print("workers   images/s   torchvision's   time over torchvision's   training waits")
        for workers in args.workers:
            source = open_images(root, workers=workers)
            common = {"batch": args.batch, "device": args.device}
            actions = (
                lambda source=source, common=common: exhaust(ours(source, **common)),
                lambda workers=workers, common=common: exhaust(torchvisions(root, workers=workers, **common)),
            )
            rounds = in_turn(actions, repeats=args.repeats, device=args.device, wall=True)
            speed, theirs = (args.images / each for each in medians(rounds))
            ratio = median_ratio(rounds, 0, 1)
            waiting[workers] = waiting_share(root, args, workers=workers)
            ratios[f"images_{workers}_workers_over_torchvision"] = round(ratio, 3)
            speeds[workers] = [round(speed, 1), round(theirs, 1)]
            print(
                f"{workers:7} {speed:10.1f} {theirs:15.1f} {ratio:25.2f} {waiting[workers]:14.1f} %",
                flush=True,
            )
    listing = time_listing(args.files)
    report("images", device=args.device, ratios=ratios, images_per_s=speeds, waiting_pct=waiting, **listing)


if __name__ == "__main__":
    main()
