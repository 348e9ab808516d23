"""The sheet of corrupted images by which a person checks what an evaluation measured."""

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tenet.data import ImageSource

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_IMAGES = 5


def draw_sheet(cells: Mapping[str, Mapping[int, ImageSource]], *, clean: ImageSource | None) -> "Figure":
    """One image in all cells of a row, with the clean one before them; the rows show images of several classes in turn.

    clean: the images that were corrupted, if there are any. An archive of fewer images may hold others: it is shown by its
    first image, without a clean one.
    """
    from tenet.corruptions.pictures import sheet_of

    lengths = {len(source) for by_severity in cells.values() for source in by_severity.values()}
    known = clean if clean is not None and lengths == {len(clean)} else None
    ids = dict(zip(cells, cycle(_first_of_classes(known) if known else [0]), strict=False))
    sheet = {
        name: {level: _read(source, ids[name]) for level, source in by_severity.items()}
        for name, by_severity in cells.items()
    }
    return sheet_of(sheet, clean={name: _read(known, image) for name, image in ids.items()} if known else {})


def _first_of_classes(source: ImageSource) -> list[int]:
    """The first image of each of the first classes; of a multi-label set, the first images."""
    if source.is_multi_label:
        return list(range(min(MAX_IMAGES, len(source))))
    classes = source.labels.unique()[:MAX_IMAGES]
    return [int((source.labels == label).nonzero()[0]) for label in classes]


def _read(source: ImageSource, image: int) -> Tensor:
    return next(iter(source.batches([torch.tensor([image])]))).images[0]
