"""Picture files as the network's test images: found in folders, read, resized and cropped, and corrupted if asked for."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from tenet.data.crops import Crops, Planned, Size
from tenet.data.decode import SUFFIXES, decode, read_file
from tenet.errors import ConfigError, DatasetError


class Corruption(NamedTuple):
    """A cell of the benchmark, written fog:3."""

    name: str
    severity: int


class Pictures(NamedTuple):
    """Pictures of one size, and where they are in the list of all files."""

    paths: list[Path]
    images: UInt8[Tensor, "image h w 3"]


def find_pictures(given: Iterable[Path]) -> list[Path]:
    """The files, and the picture files in folders and below, by name. Raises ConfigError for a folder without pictures."""
    found: list[Path] = []
    for path in given:
        inside = (
            sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and not file.is_dir())
            if path.is_dir()
            else [path]
        )
        if not inside:
            raise ConfigError(f"{path} holds no pictures ({', '.join(SUFFIXES)})")
        found += inside
    return found


def cut_as_in_tests(size: Size, *, image_size: Sequence[int] | None, resize: int | None) -> Planned:
    """The shorter side is scaled to `resize`, or to that of the network's images, and the central part is cut out.

    Images of a network whose images are not square are scaled to their size; without `image_size`, nothing is cut out.
    """
    if image_size is None:
        return Crops(resize).cut(size)
    height, width = image_size
    if height != width:
        return Planned(None, (width, height), None)
    return Crops(max(resize or height, height), height).cut(size)


def read_in_batches(
    paths: Sequence[Path],
    *,
    image_size: Sequence[int] | None,
    resize: int | None,
    batch_size: int,
    unreadable: list[DatasetError],
) -> Iterator[Pictures]:
    """Batches of pictures of one size, in the order of the paths. Errors are collected in `unreadable`, with their names."""
    kept: list[tuple[Path, Tensor]] = []
    for path in paths:
        try:
            pixels = decode(
                read_file(path),
                name=str(path),
                cut=lambda size: cut_as_in_tests(size, image_size=image_size, resize=resize),
                upright=True,
            )
        except DatasetError as error:
            unreadable.append(error)
            continue
        image = torch.from_numpy(pixels)
        if kept and (len(kept) == batch_size or kept[0][1].shape != image.shape):
            yield _stack(kept)
            kept = []
        kept.append((path, image))
    if kept:
        yield _stack(kept)


def _stack(kept: Sequence[tuple[Path, Tensor]]) -> Pictures:
    return Pictures([path for path, _ in kept], torch.stack([image for _, image in kept]))
