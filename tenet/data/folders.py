"""Lists of images in folders, one folder a class."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

from tenet.data.arrays import check_class_names
from tenet.data.decode import SUFFIXES
from tenet.data.index import ImageIndex
from tenet.errors import DatasetError, printable
from tenet.run.progress import ProgressReport

# What file managers and archivers leave behind, in addition to hidden files.
LITTER = ("thumbs.db", "desktop.ini", "__macosx", "@eadir")
logger = logging.getLogger("tenet")


def index_folder(
    root: str | PathLike[str], *, classes: Sequence[str] | None = None, allow_more: bool = False
) -> ImageIndex:
    """The images in a folder for each class, `<class>/**/*.JPEG` (or another of SUFFIXES), ordered by class and path.

    Hidden files are ignored; one warning counts all other files that are not read.
    classes: the exact names of the folders, in the order of the labels; by default all folders, sorted, by number if
    all names are numbers. allow_more: leave out folders of other classes instead of refusing them.
    Raises DatasetError, which names a folder that is missing, unexpected or without images.
    """
    folder = Path(root)
    names = find_classes(folder, expected=classes, allow_more=allow_more)
    stray = sum(path.is_file() and not is_litter(path.name) for path in folder.iterdir())
    left_out: Counter[str] = +Counter({"files in no class's folder": stray})

    def entries() -> Iterator[tuple[str, int]]:
        for done, (label, name) in enumerate(sorted(enumerate(names), key=lambda pair: pair[1]), 1):
            images, others = find_images(folder / name)
            progress.update(done, "")
            left_out.update(others)
            if not images:
                held = f": it holds {count_kinds(others)}" if others else ""
                raise DatasetError(
                    f"{folder / name} holds no image{held}; unpack the images again, or remove it"
                )
            yield from ((f"{name}/{image}", label) for image in images)

    with ProgressReport(f"listing {printable(str(root))}", total=len(names), unit="class") as progress:
        index = ImageIndex.build(folder, entries(), classes=names)
    if left_out:
        logger.warning(
            "%s: %s images; not read: %s", printable(str(root)), f"{len(index):,}", count_kinds(left_out)
        )
    return index


def find_images(folder: Path) -> tuple[list[str], Counter[str]]:
    """The images in a folder and its subfolders, as sorted paths relative to it, and the other files: suffix -> count."""
    images: list[str] = []
    others: Counter[str] = Counter()
    # Links to folders are not followed: they may form a circle.
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_litter(name)]
        others["links to folders"] += sum(Path(place, name).is_symlink() for name in folders)
        inner = os.path.relpath(place, folder)
        for name in files:
            suffix = f".{name.rpartition('.')[2]}".lower() if "." in name else ""
            if is_litter(name):
                continue
            if suffix in SUFFIXES:
                images.append(name if inner == "." else f"{inner}/{name}")
            else:
                others[suffix or "no suffix"] += 1
    return sorted(images), +others


def is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def count_kinds(others: Counter[str]) -> str:
    """Such as `.gif (3), links to folders (1)`, at most five kinds."""
    kinds = [f"{printable(kind[:30])} ({count})" for kind, count in others.most_common()]
    return ", ".join(kinds[:5]) + (f" and {len(kinds) - 5} more kinds" if len(kinds) > 5 else "")


def find_classes(
    root: Path, *, expected: Sequence[str] | None = None, allow_more: bool = False
) -> tuple[str, ...]:
    """The names of the class folders in `root`: sorted, or in the order of `expected`.

    If all names are numbers, they are sorted by number, with a warning if torchvision's order differs.
    allow_more: leave out folders that are not expected.
    Raises DatasetError as `list_classes` does, and if the folders differ from the expected ones.
    """
    found = list_classes(root)
    if expected is None:
        return tuple(sort_numbers(found, source=root))
    if not allow_more and (unknown := sorted(set(found) - set(expected))):
        names = ", ".join(expected[:3]) + (" ..." if len(expected) > 3 else "")
        raise DatasetError(
            f"{root / unknown[0]} is none of the {len(expected)} expected classes, {names}; remove it"
        )
    if missing := sorted(set(expected) - set(found)):
        raise DatasetError(
            f"{root / missing[0]} is missing: one of the {len(expected)} expected classes; add its images"
        )
    return tuple(expected)


def list_classes(root: Path) -> list[str]:
    """The sorted names of the class folders in `root`. Raises DatasetError if there are none, or for a name that can't be
    printed."""
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; unpack the images there")
    found = sorted(path.name for path in root.iterdir() if path.is_dir() and not is_litter(path.name))
    if not found:
        raise DatasetError(f"{root} holds no folders of classes; give the folder above them")
    check_class_names(found, source=str(root))
    return found


def sort_numbers(names: list[str], *, source: Path) -> list[str]:
    """Sorted names, by number if all of them end in one after the same text, as in `class_2`."""
    numbered = [re.fullmatch(r"(\D*)(\d{1,18})", name) for name in names]
    if len({found[1] if found else None for found in numbered}) != 1 or not all(numbered):
        return names
    by_number = sorted(names, key=lambda name: int(re.sub(r"\D", "", name)))
    if by_number != names:
        logger.warning(
            "%s: classes are ordered by number, %s; torchvision's ImageFolder orders them as text, %s",
            source, ", ".join(by_number[:3]) + " ...", ", ".join(names[:3]) + " ...",
        )  # fmt: skip
    return by_number
