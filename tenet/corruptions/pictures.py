"""Pictures of the corruptions."""

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from tenet.corruptions.generator import corrupt
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from tenet.files.figures import default_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@default_style()
def contact_sheet(image: UInt8[Tensor, "h w 3"], *, path: str | PathLike[str], seed: int = 0) -> None:
    """Write a PNG that shows the image, then below it every corruption (rows) at every severity (columns)."""

    def cell(name: str, severity: int) -> Tensor:
        return corrupt(image[None], corruption=name, severity=severity, seed=seed)[0]

    names = CORRUPTIONS + EXTRA_CORRUPTIONS
    cells = {name: {level: cell(name, level) for level in SEVERITIES} for name in names}
    sheet_of(cells, clean=image).savefig(path)


@default_style()
def sheet_of(cells: Mapping[str, Mapping[int, Tensor]], *, clean: Tensor | None = None) -> "Figure":
    """A figure of uint8 images [h, w, 3]: one row per corruption, one column per severity.

    clean: the same image without corruption, for a first row.
    """
    from matplotlib.figure import Figure

    severities = list(next(iter(cells.values())))
    # One mosaic, because a hundred axes take seconds to lay out.
    rows = [torch.stack([image.cpu() for image in by_severity.values()]) for by_severity in cells.values()]
    names = list(cells)
    if clean is not None:
        names.insert(0, "clean")
        rows.insert(0, torch.full_like(rows[0], 255))
        rows[0][0] = clean.cpu()
    images = torch.stack(rows)  # [row, column, h, w, 3]
    height, width = images.shape[2:4]
    gap = max(1, width // 16)
    padded = F.pad(images, (0, 0, 0, gap, 0, gap), value=255)
    mosaic = padded.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)[:-gap, :-gap]
    # In inches: a cell is one wide; names are on the left, severities above.
    across, down, left, above = len(severities), len(names), 1.5, 0.3
    tall = down * height / width
    figure = Figure(figsize=(left + across, tall + above), dpi=80)
    axes = figure.add_axes((left / (left + across), 0, across / (left + across), tall / (tall + above)))
    axes.imshow(mosaic.numpy(), interpolation="nearest", aspect="auto")
    columns = [(width + gap) * column + width / 2 for column in range(across)]
    axes.set_xticks(columns, [f"severity {severity}" for severity in severities])
    axes.set_yticks([(height + gap) * row + height / 2 for row in range(down)], names)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    return figure
