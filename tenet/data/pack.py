"""Write the images of a folder into one file, for network drives: `python -m tenet.data.pack DIR FILE`; docs/data.md."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tenet.data.image_datasets import ImageFolders
from tenet.data.packed import write_pack
from tenet.entry import run_and_report_errors
from tenet.errors import DatasetError, printable
from tenet.run.progress import ProgressReport
from tenet.run.signals import StopSignals


def run(folder: Path, file: Path) -> None:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; give the one that holds train and val, or the classes")
    if file.exists():
        raise DatasetError(f"{file} exists; remove it, or give another name")
    parts = ImageFolders(path=str(folder)).parts()
    classes = next(iter(parts.values())).classes
    if len(classes) == 1:
        raise DatasetError(
            f"{folder}: {classes[0]} is its only class; give the folder above those of the classes"
        )
    images = sum(map(len, parts.values()))
    with ProgressReport("packing", total=images, unit="image") as progress:
        write_pack(file, parts, on_image=lambda done, part: progress.update(done, part))
    sizes = ", ".join(f"{len(index):,} of {part}" for part, index in parts.items())
    print(f"{printable(str(file))}: {file.stat().st_size / 1e6:,.1f} MB, {sizes} in {len(classes)} classes")
    print(f"train on it: python train.py dataset=images dataset.path={printable(str(file))}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser("python -m tenet.data.pack", description=__doc__)
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="with train/CLASS/* and val/CLASS/*, or with CLASS/*"
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="to write; it must not exist")
    options = parser.parse_args(arguments)
    with StopSignals():
        return run_and_report_errors(lambda: run(options.folder, options.file))


if __name__ == "__main__":
    sys.exit(main())
