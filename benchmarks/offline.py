"""What a GPU machine without a network needs: wheels of the packages that it lacks, and packed images.

    python benchmarks/offline.py wheels --have LIST [--python 3.12] [--extras test]
    python benchmarks/offline.py data FILE.npz [--training 8000] [--test 10000]
    python benchmarks/offline.py unpack

LIST names the packages of that machine, one a line (`pip list --format=freeze` there). Wheels go to build/offline/wheels,
in the versions of this environment and with all that they need; a package without a wheel is built here, so that it must
be one of Python alone. `data` packs as many images of every class, spread over the file, into build/offline/data.npz.xz,
and `unpack` writes build/offline/data.npz there for dataset=arrays. Copy build/offline to the same place over there:
benchmarks/gpu.sh installs the wheels and unpacks the images.
"""

import argparse
import lzma
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).resolve().parents[1] / "build" / "offline"
WHEELS, PACKED, IMAGES = FOLDER / "wheels", FOLDER / "data.npz.xz", FOLDER / "data.npz"
PROJECT = "tenet-training"
# pip takes each of these literally.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 24, 17, 5)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]


def needed(extras: list[str], *, have: set[str], python: str) -> dict[str, str]:
    """Version by name of the packages that the project needs and `have` lacks, with all that these need.

    What the packages of `have` need is there too.
    """
    environment: dict[str, str] = {
        **default_environment(),
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    found: dict[str, str] = {}
    pending = [Requirement(f"{PROJECT}[{','.join(extras)}]")]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name in have or name in found:
            continue
        distribution = metadata.distribution(name)
        found[name] = distribution.version
        for text in distribution.requires or []:
            child = Requirement(text)
            if child.marker is None or any(
                child.marker.evaluate({**environment, "extra": extra}) for extra in ("", *requirement.extras)
            ):
                pending.append(child)
    del found[PROJECT]
    return found


def fetch(name: str, version: str, *, python: str) -> None:
    """The wheel for that Python; a package without one is built here."""
    pip = [sys.executable, "-m", "pip"]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", f"{name}=={version}"]
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    download = [
        *pip,
        "download",
        *quiet,
        "--only-binary=:all:",
        "--python-version",
        python,
        *platforms,
        "--dest",
        WHEELS,
    ]
    if subprocess.run(download, stderr=subprocess.DEVNULL).returncode:
        subprocess.run([*pip, "wheel", *quiet, "--wheel-dir", WHEELS], check=True)
        if not list(WHEELS.glob(f"{name.replace('-', '_')}-*-none-any.whl")):
            sys.exit(f"{name}: has no wheel for Python {python}, and what was built is of this machine")


def fetch_all(args: argparse.Namespace) -> None:
    lines = args.have.read_text().splitlines()
    have = {canonicalize_name(line.partition("==")[0].strip()) for line in lines if line.strip()}
    shutil.rmtree(WHEELS, ignore_errors=True)
    WHEELS.mkdir(parents=True)
    for name, version in sorted(needed(args.extras, have=have, python=args.python).items()):
        fetch(name, version, python=args.python)
    files = sorted(WHEELS.iterdir())
    for path in files:
        print(f"{path.stat().st_size / 2**20:8.2f} MiB  {path.name}")
    print(f"{sum(path.stat().st_size for path in files) / 2**20:8.2f} MiB  in all")


def spread(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` images in their order, as many of every class, evenly spaced among those of their class."""
    classes = np.unique(labels)
    chosen = []
    for place, each in enumerate(classes):
        ids = np.flatnonzero(labels == each)
        share = count // len(classes) + (place < count % len(classes))
        chosen.append(ids[np.linspace(0, len(ids) - 1, min(share, len(ids))).astype(int)])
    return np.sort(np.concatenate(chosen))


def pack(args: argparse.Namespace) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    arrays = dict(np.load(args.file))
    for split, count in (("train", args.training), ("test", args.test)):
        ids = spread(arrays[f"{split}_labels"].reshape(-1), count)
        arrays |= {key: arrays[key][ids] for key in (f"{split}_images", f"{split}_labels")}
    with lzma.open(PACKED, "wb", preset=6) as file:
        np.savez(file, **arrays)
    training, test = len(arrays["train_images"]), len(arrays["test_images"])
    print(
        f"{PACKED}: {training:,} training and {test:,} test images, {PACKED.stat().st_size / 2**20:.1f} MiB"
    )


def unpack(args: argparse.Namespace) -> None:
    with lzma.open(PACKED) as source, IMAGES.open("wb") as target:
        shutil.copyfileobj(source, target)
    print(IMAGES)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    wheels = commands.add_parser("wheels")
    wheels.add_argument("--have", type=Path, required=True, metavar="LIST")
    wheels.add_argument("--python", default="3.12")
    wheels.add_argument("--extras", nargs="*", default=["test"])
    wheels.set_defaults(run=fetch_all)
    data = commands.add_parser("data")
    data.add_argument("file", type=Path, metavar="FILE.npz")
    data.add_argument("--training", type=int, default=8000)
    data.add_argument("--test", type=int, default=10_000)
    data.set_defaults(run=pack)
    commands.add_parser("unpack").set_defaults(run=unpack)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
