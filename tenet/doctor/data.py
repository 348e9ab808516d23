"""The data set: is it there, is it complete, and are its values plausible?"""

import contextlib
import io
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tenet.doctor.findings import Finding, Plan, ok, problem, warning
from tenet.files.paths import user_path

if TYPE_CHECKING:
    from tenet.data import Cifar, ImageSource, Splits

# Of images that stay on disk, all are decoded, but no more than this many of each part, evenly spaced.
DECODED_IMAGES = 20_000
LISTED_FILES = 10
# Training and test images, and classes, of the data sets that random images can replace.
CIFAR_SIZES = (50_000, 10_000)
CIFAR_CLASSES = {"cifar10": 10, "cifar100": 100}


def check(plan: Plan) -> Iterator[Finding]:
    from tenet.data import Arrays, Cifar, Folder

    dataset = plan.experiment.dataset
    if isinstance(dataset, Cifar):
        files = check_cifar_files(dataset)
        yield files
        if files.status == "problem":
            plan.experiment.splits, plan.has_stand_ins = make_stand_ins(dataset), True
            return
    elif isinstance(dataset, Arrays) and Path(dataset.path).is_file():
        yield ok(f"{dataset.path}, {Path(dataset.path).stat().st_size / 1e6:,.1f} MB")
    elif isinstance(dataset, Folder):  # it has no training images
        yield from check_decoding("test", dataset.test_source())
    with contextlib.redirect_stdout(io.StringIO()):  # some versions of torchvision print
        splits = plan.experiment.splits
    yield from check_contents(splits)
    for name, part in parts_of(splits).items():
        yield from check_decoding(name, part)


def check_cifar_files(dataset: "Cifar") -> Finding:
    """Compare the files with the published MD5, which torchvision knows."""
    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity

    source = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[dataset.name]
    folder = user_path(dataset.root, key="dataset.root") / source.base_folder
    meta = source.meta
    published = {**dict(source.train_list), **dict(source.test_list), meta["filename"]: meta["md5"]}
    missing = [name for name in published if not (folder / name).is_file()]
    code = f"from tenet.data import Cifar; Cifar(name={dataset.name!r}, root={dataset.root!r}).read()"
    fetch = "python -c " + (shlex.quote(code) if set(code) & set('"$`!') else f'"{code}"')
    if len(missing) == len(published):
        archive = folder.with_name(source.filename)
        found = f"; {archive.name} is, and is unpacked" if archive.exists() else ", 170 MB to download"
        return problem(f"{source.__name__} is not in {folder.parent}{found} when the run starts", fetch)
    wrong = [name for name, md5 in published.items() if not check_integrity(str(folder / name), md5)]
    if wrong:
        kinds = {
            "missing": missing,
            "not the published file": [name for name in wrong if name not in missing],
        }
        listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names)
        return problem(f"{folder}: {listed}", f"rm -r {shlex.quote(str(folder))}; {fetch}")
    return ok(f"{folder}: {len(published)} files, MD5 as published")


def make_stand_ins(dataset: "Cifar") -> "Splits":
    """Random images of the data set's size and number, split as its settings say."""
    from tenet.data import ImageArrays, Splits

    classes = tuple(map(str, range(CIFAR_CLASSES[dataset.name])))

    def draw(count: int) -> ImageArrays:
        images = torch.randint(256, (count, 32, 32, 3), dtype=torch.uint8)
        return ImageArrays(images, torch.randint(len(classes), (count,)), classes)

    train, test = CIFAR_SIZES
    held_out = round(train * dataset.validation_fraction)
    validation = draw(held_out) if held_out else None
    return Splits(draw(round((train - held_out) * dataset.fraction)), validation, draw(test))


def check_decoding(name: str, source: "ImageSource") -> Iterator[Finding]:
    """Decode the images of a source that stay on disk, and name all that can't be read."""
    from tenet.data import Images, Subset

    ids = torch.arange(len(source))
    while isinstance(source, Subset):
        ids = source.ids[ids]
        source = source.source
    if not isinstance(source, Images):
        return
    if len(ids) > DECODED_IMAGES:
        ids = ids[torch.arange(DECODED_IMAGES) * len(ids) // DECODED_IMAGES]
    broken = source.broken(ids)
    share = f"{len(ids):,} of {len(source):,}" if len(ids) < len(source) else f"{len(ids):,}"
    if broken:
        listed = "; ".join(broken[:LISTED_FILES])
        more = (
            f"; and {len(broken) - LISTED_FILES:,} more (--json lists all)"
            if len(broken) > LISTED_FILES
            else ""
        )
        what = f"{len(broken):,} of {len(ids):,} {name} images can't be used: {listed}{more}"
        yield problem(what, "replace or remove these files", broken=broken)
    else:
        yield ok(f"{source.index.root}: {share} {name} images decoded")


def parts_of(splits: "Splits") -> dict[str, "ImageSource"]:
    parts = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    return {name: part for name, part in parts.items() if part is not None}


def check_contents(splits: "Splits") -> Iterator[Finding]:
    from tenet.data import ImageArrays

    classes = len(splits.classes)
    held = parts_of(splits)
    height, width = splits.train.image_size()
    by_class = splits.train.images_by_class()
    counts = ", ".join(f"{len(part):,} {name}" for name, part in held.items())
    yield ok(
        f"{counts} images of {width} x {height} in {classes} classes; {format_range(by_class)} training images "
        "of each",
        images={name: len(part) for name, part in held.items()},
        classes=classes, training_images_by_class=by_class,
    )  # fmt: skip
    for name, part in held.items():
        counts_of_part = zip(splits.classes, part.images_by_class(), strict=True)
        if absent := [name for name, count in counts_of_part if count == 0]:
            listed = ", ".join(sorted(absent)[:5])
            yield warning(f"no {name} images of {len(absent)} of the {classes} classes: {listed}")
        if isinstance(part, ImageArrays) and (highest := int(part.images.max())) <= 1:
            yield problem(
                f"the {name} images hold values from 0 to {highest}: they are almost black",
                "store uint8 from 0 to 255, not images scaled to [0, 1]",
            )


def format_range(counts: list[int]) -> str:
    lowest, highest = min(counts), max(counts)
    return f"{lowest:,}" if lowest == highest else f"{lowest:,} to {highest:,}"
