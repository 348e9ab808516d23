"""The data set: is it there, whole, and what it says it is?"""

import contextlib
import io
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tenet.doctor.findings import Finding, ok, problem, warning
from tenet.doctor.plan import Plan
from tenet.errors import DatasetError
from tenet.files.paths import user_path

if TYPE_CHECKING:
    from tenet.data import Cifar, Folder, Splits

# Of a folder's images, so many are read, evenly spread.
SAMPLED_IMAGES = 64
# Images by split, and classes, of the sets that random images can stand in for.
CIFAR_SIZES = (50_000, 10_000)
CIFAR_CLASSES = {"cifar10": 10, "cifar100": 100}


def check(plan: Plan) -> Iterator[Finding]:
    from tenet.data import Arrays, Cifar, Folder

    dataset = plan.build("dataset")
    if isinstance(dataset, Cifar):
        files = check_cifar_files(dataset)
        yield files
        if files.status == "problem":
            plan.known_splits, plan.stands_in = stand_in(dataset), True
            return
    elif isinstance(dataset, Arrays) and Path(dataset.path).is_file():
        yield ok(f"{dataset.path}, {Path(dataset.path).stat().st_size / 1e6:,.1f} MB")
    elif isinstance(dataset, Folder):
        yield from check_folder(dataset)
    with contextlib.redirect_stdout(io.StringIO()):  # some versions of torchvision greet
        plan.known_splits = dataset.load()
    yield from check_contents(plan.known_splits)


def check_cifar_files(dataset: "Cifar") -> Finding:
    """The files' MD5 are those that their authors publish, as torchvision carries them."""
    from torchvision import datasets

    from tenet.corruptions.transfer import md5_and_size

    source = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[dataset.name]
    folder = user_path(dataset.root, key="dataset.root") / source.base_folder
    published = {
        **dict(source.train_list),
        **dict(source.test_list),
        source.meta["filename"]: source.meta["md5"],
    }
    missing = [name for name in published if not (folder / name).is_file()]
    fetch = fetch_command(dataset)
    if len(missing) == len(published):
        archive = folder.with_name(source.filename)
        found = f"; {archive.name} is, and is unpacked" if archive.exists() else ", 170 MB to download"
        return problem(f"{source.__name__} is not in {folder.parent}{found} when the run starts", fetch)
    damaged = [
        name
        for name, md5 in published.items()
        if name not in missing and md5_and_size(folder / name)[0].hexdigest() != md5
    ]
    if missing or damaged:
        kinds = {"missing": missing, "not the published file": damaged}
        listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names)
        return problem(f"{folder}: {listed}", f"rm -r {shlex.quote(str(folder))}; {fetch}")
    return ok(f"{folder}: {len(published)} files, MD5 as published")


def fetch_command(dataset: "Cifar") -> str:
    code = f"from tenet.data import Cifar; Cifar(name={dataset.name!r}, root={dataset.root!r}).read()"
    quoted = shlex.quote(code) if set(code) & set('"$`!') else f'"{code}"'
    return f"python -c {quoted}"


def stand_in(dataset: "Cifar") -> "Splits":
    """Random images, as many and as large as the data set's, cut as its settings say."""
    import torch

    from tenet.data import ImageArrays, Splits

    classes = CIFAR_CLASSES[dataset.name]
    held_out = round(CIFAR_SIZES[0] * dataset.validation_fraction)
    counts = (round((CIFAR_SIZES[0] - held_out) * dataset.fraction), held_out, CIFAR_SIZES[1])
    train, validation, test = (
        ImageArrays(
            torch.randint(256, (count, 32, 32, 3), dtype=torch.uint8), torch.randint(classes, (count,))
        )
        for count in counts
    )
    return Splits(train, validation if held_out else None, test, tuple(map(str, range(classes))))


def check_folder(dataset: "Folder") -> Iterator[Finding]:
    """Counts, and whether a sample of the images can be read and has one size."""
    from tenet.corruptions.folders import ClassFolder, read_image

    folder = ClassFolder(
        user_path(dataset.path, key="dataset.path"), resize=dataset.resize, crop=dataset.crop
    )
    files = folder.files()
    by_class = [0] * len(folder.classes)
    for _, label in files:
        by_class[label] += 1
    yield ok(
        f"{folder.root}: {len(files):,} images in {len(by_class):,} classes ({_range(by_class)} of each)",
        images=len(files),
    )
    sample = files[:: max(1, len(files) // SAMPLED_IMAGES)]
    sizes: dict[tuple[int, ...], Path] = {}
    unreadable = []
    for path, _ in sample:
        try:
            sizes.setdefault(read_image(path, resize=dataset.resize, crop=dataset.crop).shape[:2], path)
        except DatasetError as error:
            unreadable.append(str(error))
    if unreadable:
        others = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
        yield problem(
            f"of {len(sample)} images that were read: {unreadable[0]}{others}", "replace these files"
        )
    if len(sizes) > 1:
        (first, one), (second, other), *_ = sizes.items()
        yield problem(
            f"{one} has {first[1]} x {first[0]} pixels, {other} {second[1]} x {second[0]}",
            "dataset.resize, dataset.crop",
        )


def check_contents(splits: "Splits") -> Iterator[Finding]:
    import torch

    classes = len(splits.classes)
    parts = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    held = {name: part for name, part in parts.items() if part is not None}
    height, width = splits.train.images.shape[1:3]
    by_class = torch.bincount(splits.train.labels, minlength=classes).tolist()
    counts = ", ".join(f"{len(part.labels):,} {name}" for name, part in held.items())
    yield ok(
        f"{counts} images of {width} x {height} in {classes} classes; {_range(by_class)} training images of each",
        images={name: len(part.labels) for name, part in held.items()},
        classes=classes, training_images_by_class=by_class,
    )  # fmt: skip
    for name, part in held.items():
        if absent := [splits.classes[label] for label in set(range(classes)) - set(part.labels.tolist())]:
            listed = ", ".join(sorted(absent)[:5])
            yield warning(f"no {name} images of {len(absent)} of the {classes} classes: {listed}")
        if int(part.images.max()) <= 1:
            yield problem(
                f"the {name} images hold values from 0 to {int(part.images.max())}: all but black",
                "store uint8 from 0 to 255, not images scaled to [0, 1]",
            )


def _range(counts: list[int]) -> str:
    lowest, highest = min(counts), max(counts)
    return f"{lowest:,}" if lowest == highest else f"{lowest:,} to {highest:,}"
