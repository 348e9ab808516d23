"""What the readers of published data sets share: a tree of files, and an error that says where to get its archive."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from tenet.data.decode import SUFFIXES
from tenet.data.folders import is_litter
from tenet.errors import DatasetError, counted, printable
from tenet.files.plain import read_bytes

MAX_TABLE_BYTES = 2**26


class Listing(NamedTuple):
    """The images of a data set: relative paths with `/`, and labels, which are positions in `classes`.

    If an image may have several classes, its label has a value for each class: 1 present, 0 absent, -1 not counted.
    """

    classes: tuple[str, ...]
    train: Iterable[tuple[str, Any]]
    test: Iterable[tuple[str, Any]]


class Archive(NamedTuple):
    """Where a data set comes from.

    option: of `dataset=`. files: the published archives. site: who has them. folder: what they unpack to. md5: of the
    archive; empty: not known.
    """

    option: str
    files: str
    site: str
    folder: str
    md5: str = ""


@dataclass(frozen=True)
class Tree:
    """An unpacked archive. Every method raises DatasetError for what is missing or damaged."""

    root: Path
    archive: Archive

    def error(self, what: str) -> DatasetError:
        """The error for a tree that is missing or incomplete. what: such as `/data/x is missing`."""
        archive = self.archive
        md5 = f", MD5 {archive.md5}" if archive.md5 else ""
        return DatasetError(
            f"dataset={archive.option}: {printable(what)}; unpack {archive.files} (from {archive.site}{md5}) so that "
            f"{self.root} is {archive.folder}, or give dataset.path=FOLDER"
        )

    def check(self, *names: str) -> None:
        """All these files and folders must be there."""
        if not self.root.is_dir():
            raise self.error(f"{self.root} is not a folder")
        for name in names:
            if not (self.root / name).exists():
                raise self.error(f"{self.root / name} is missing")

    def check_images(self, names: Iterable[str]) -> None:
        """All these files must be there. Each folder is listed once."""
        listed: dict[str, set[str]] = {}
        missing = []
        for name in names:
            folder = self.root / PurePath(name).parent
            if str(folder) not in listed:
                entries = folder.iterdir() if folder.is_dir() else ()
                listed[str(folder)] = {entry.name for entry in entries}
            if PurePath(name).name not in listed[str(folder)]:
                missing.append(self.root / name)
        if missing:
            raise self.error(f"{counted(len(missing), 'image')} missing, first {missing[0]}")

    def images_in(self, folder: str) -> Iterator[str]:
        """The relative paths of the images in a folder, sorted by name; other files and hidden ones are left out."""
        with os.scandir(self.root / folder) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            if PurePath(name).suffix.lower() in SUFFIXES and not is_litter(name):
                yield f"{folder}/{name}"

    def table(self, name: str, *, columns: int = 1) -> list[list[str]]:
        """The fields of each line of a file, separated by white space; at least `columns` of them."""
        path = self.root / name
        try:
            lines = read_bytes(path, limit_bytes=MAX_TABLE_BYTES).decode().splitlines()
        except FileNotFoundError as error:
            raise self.error(f"{path} is missing") from error
        except (OSError, ValueError) as error:  # UnicodeDecodeError is a ValueError
            raise self.error(f"{path} can't be read ({error})") from error
        rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
        for number, fields in rows:
            if len(fields) < columns:
                found = counted(len(fields), "field")
                raise self.error(f"{path}, line {number}, has {found}, not {columns}")
        return [fields for _, fields in rows]

    def mapping(self, name: str) -> dict[str, str]:
        """The first two fields of each line: an id, which occurs once, and its value."""
        rows = self.table(name, columns=2)
        mapping = {fields[0]: fields[1] for fields in rows}
        if len(mapping) < len(rows):
            raise self.error(f"{self.root / name} has an id twice")
        return mapping


def is_wordnet_id(name: str) -> bool:
    """Such as n01440764."""
    return len(name) == 9 and name[0] == "n" and name[1:].isascii() and name[1:].isdecimal()
