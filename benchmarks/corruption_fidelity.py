"""Compare the generator with official files, cell by cell, on the same clean images.

    python benchmarks/corruption_fidelity.py CIFAR-10-C --clean clean.npy

The folder has the layout of the official archives; clean.npy holds the images of one severity, in the same order.
Prints a Markdown table. `--fixture` also writes the fixture that the tests compare with.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from tenet.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, OfficialArchive, corrupt

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
    parser.add_argument("folder", type=Path, help="official layout: <corruption>.npy and labels.npy")
    parser.add_argument("--clean", type=Path, required=True, help="uint8 [n, h, w, 3]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fixture", type=Path, help="folder to write the tests' fixture to")
    arguments = parser.parse_args()
    archive = OfficialArchive(arguments.folder)
    clean = np.load(arguments.clean, allow_pickle=False)
    print_table(archive, clean, seed=arguments.seed)
    if arguments.fixture:
        write_fixture(arguments.fixture, archive, clean)


def print_table(archive: OfficialArchive, clean: np.ndarray, *, seed: int) -> None:
    print("| corruption |" + "".join(f" {severity} |" for severity in SEVERITIES) + " within 2 levels |")
    print("|---|" + "---|" * (len(SEVERITIES) + 1))
    for name in archive.names:
        cells, shares = [], []
        for severity in SEVERITIES:
            official = archive.cell(name, severity).images
            ours = corrupt(torch.from_numpy(clean), corruption=name, severity=severity, seed=seed).numpy()
            ratios = np.divide(cell_statistics(ours, clean), cell_statistics(official, clean))
            cells.append(" / ".join(f"{100 * (ratio - 1):+.1f}" for ratio in ratios))
            shares.append(share_within_two_levels(ours, official))
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
