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

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def contact_sheet(image: UInt8[Tensor, "h w 3"], *, path: str | PathLike[str], seed: int = 0) -> None:
    """Write a PNG of the image under every corruption (a row each) at every severity (a column each)."""
    cells = {
        name: {
            severity: corrupt(image[None], corruption=name, severity=severity, seed=seed)[0]
            for severity in SEVERITIES
        }
        for name in CORRUPTIONS + EXTRA_CORRUPTIONS
    }
    sheet_of(cells).savefig(path, dpi=80)


def sheet_of(cells: Mapping[str, Mapping[int, Tensor]]) -> "Figure":
    """uint8 images [h, w, 3] by corruption (a row each) and severity (a column each) as a figure."""
    from matplotlib.figure import Figure

    severities = list(next(iter(cells.values())))
    # One picture: a hundred axes take seconds to lay out.
    rows = [torch.stack([image.cpu() for image in by_severity.values()]) for by_severity in cells.values()]
    images = torch.stack(rows)  # [row, column, h, w, 3]
    height, width = images.shape[2:4]
    gap = max(1, width // 16)
    padded = F.pad(images, (0, 0, 0, gap, 0, gap), value=255)
    mosaic = padded.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)[:-gap, :-gap]
    # Inches: a cell is one, the names on the left and the severities above take the rest.
    across, down, left, above = len(severities), len(cells), 1.5, 0.3
    figure = Figure(figsize=(left + across, down + above))
    axes = figure.add_axes((left / (left + across), 0, across / (left + across), down / (down + above)))
    axes.imshow(mosaic.numpy(), interpolation="nearest", aspect="auto")
    columns = [(width + gap) * column + width / 2 for column in range(across)]
    axes.set_xticks(columns, [f"severity {severity}" for severity in severities])
    axes.set_yticks([(height + gap) * row + height / 2 for row in range(down)], list(cells))
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    return figure
