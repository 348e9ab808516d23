"""Picture files as images for a network: found in folders, read, and resized and cropped as its test images."""

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
    """A corruption of the benchmark at one severity, typed as fog:3."""

    name: str
    severity: int


class Pictures(NamedTuple):
    """Pictures of one size, and their files."""

    paths: list[Path]
    images: UInt8[Tensor, "image h w 3"]


def find_pictures(given: Iterable[Path]) -> list[Path]:
    """The files that were given, and the picture files in the folders that were given and in their subfolders, sorted.

    Raises ConfigError for a folder without pictures.
    """
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
    """Scale the shorter side to `resize`, by default to the side of the network's images, and cut out the central part.

    If the network's images are not square, scale to their height and width instead. Without `image_size`, nothing is cut
    out.
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
    """Yield batches of pictures of one size, in the order of the paths.

    A picture that can't be read is left out, and its error, which names it, is added to `unreadable`.
    """
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
