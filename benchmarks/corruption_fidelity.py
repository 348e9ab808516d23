"""Compare the generator with official files, cell by cell, on the same clean images.

    python benchmarks/corruption_fidelity.py CIFAR-10-C --clean clean.npy
    python benchmarks/corruption_fidelity.py --size 224

The folder has the layout of the official archives; clean.npy holds the images of one severity, in the same order.
`--size` compares with plain code in the official order of operations (plain_corruptions.py) instead, on crops of two
photographs that scikit-learn brings. Prints a Markdown table. `--fixture` also writes the fixture of the tests.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from tenet.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, OfficialArchive, corrupt
from tenet.corruptions.parameters import settings

DETERMINISTIC = (
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
)
FIXTURE_PICTURES = 8
CROPS = 10  # of each photograph


def cell_statistics(corrupted: np.ndarray, clean: np.ndarray) -> tuple[float, float, float]:
    """(mean squared change, total variation, deviation of an image's values), in levels, over uint8 images.

    Total variation is the mean absolute difference of neighbours, over both axes.
    """
    images = corrupted.astype(np.float64)
    change = np.square(images - clean).mean()
    variation = (np.abs(np.diff(images, axis=1)).mean() + np.abs(np.diff(images, axis=2)).mean()) / 2
    return change, variation, images.std(axis=(1, 2, 3)).mean()


def share_within_two_levels(ours: np.ndarray, official: np.ndarray) -> float:
    return float((np.abs(ours.astype(np.int16) - official) <= 2).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", type=Path, nargs="?", help="official layout: <corruption>.npy and labels.npy"
    )
    parser.add_argument("--clean", type=Path, help="uint8 [n, h, w, 3]")
    parser.add_argument("--size", type=int, help="compare with plain code at this size, such as 64 or 224")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fixture", type=Path, help="folder to write the tests' fixture to")
    arguments = parser.parse_args()
    if arguments.size:
        from plain_corruptions import PLAIN

        clean = photographs(arguments.size)
        np.random.seed(arguments.seed)  # the plain code draws from NumPy's global generator
        # Not frost, whose photographs may not be redistributed.
        names = [name for name in PLAIN if name != "frost"]
        print_table(names, plain_code(PLAIN, clean), clean, seed=arguments.seed)
        return
    if arguments.folder is None or arguments.clean is None:
        parser.error("give a folder and --clean, or --size")
    archive = OfficialArchive(arguments.folder)
    clean = np.load(arguments.clean, allow_pickle=False)

    def official(name: str, severity: int) -> np.ndarray:
        return archive.cell(name, severity).images

    print_table(archive.names, official, clean, seed=arguments.seed)
    if arguments.fixture:
        write_fixture(arguments.fixture, archive, clean)


def photographs(size: int) -> np.ndarray:
    """Crops of two photographs at random places, each scaled to the size."""
    generator, crops = np.random.default_rng(0), []
    for photograph in load_sample_images().images:
        height, width = photograph.shape[:2]
        for _ in range(CROPS):
            side = int(generator.integers(max(size, 160), height))
            top, left = generator.integers(height - side), generator.integers(width - side)
            crop = Image.fromarray(photograph[top : top + side, left : left + side])
            crops.append(np.asarray(crop.resize((size, size), Image.Resampling.LANCZOS)))
    return np.stack(crops)


def plain_code(
    functions: Mapping[str, Callable[..., np.ndarray]], clean: np.ndarray
) -> Callable[[str, int], np.ndarray]:
    """The plain code, one image at a time."""

    def corrupted(name: str, severity: int) -> np.ndarray:
        parameters = settings(name, severity=severity, size=clean.shape[1])
        return np.stack([functions[name](image, **parameters) for image in clean])

    return corrupted


def print_table(
    names: Sequence[str], reference: Callable[[str, int], np.ndarray], clean: np.ndarray, *, seed: int
) -> None:
    """Print a row for each corruption. reference: returns the images of a corruption at a severity."""
    print("| corruption |" + "".join(f" {severity} |" for severity in SEVERITIES) + " within 2 levels |")
    print("|---|" + "---|" * (len(SEVERITIES) + 1))
    for name in names:
        cells, shares = [], []
        for severity in SEVERITIES:
            theirs = reference(name, severity)
            ours = corrupt(torch.from_numpy(clean), corruption=name, severity=severity, seed=seed).numpy()
            ratios = np.divide(cell_statistics(ours, clean), cell_statistics(theirs, clean))
            cells.append(" / ".join(f"{100 * (ratio - 1):+.1f}" for ratio in ratios))
            shares.append(share_within_two_levels(ours, theirs))
        within = f"{100 * min(shares):.2f} %" if name in DETERMINISTIC else ""
        print(f"| {name} | " + " | ".join(cells) + f" | {within} |", flush=True)


def write_fixture(folder: Path, archive: OfficialArchive, clean: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pictures = np.linspace(0, len(clean) - 1, FIXTURE_PICTURES).round().astype(np.int64)
    statistics = {
        name: [cell_statistics(archive.cell(name, severity).images, clean) for severity in SEVERITIES]
        for name in CORRUPTIONS + EXTRA_CORRUPTIONS
    }
    (folder / "statistics.json").write_text(json.dumps(statistics, indent=1) + "\n")
    official = {
        name: np.stack([archive.cell(name, severity).images[pictures] for severity in SEVERITIES])
        for name in DETERMINISTIC
    }
    np.savez_compressed(folder / "images.npz", clean=clean, pictures=pictures, **official)


if __name__ == "__main__":
    main()
