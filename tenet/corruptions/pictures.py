"""Pictures of the corruptions."""

from collections.abc import Mapping
from itertools import cycle
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
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ONE_BLOCK = 8  # rows: more are shown in two blocks side by side
WIDE = 100  # pixels: wider images are made smaller smoothly, others enlarged without blur
LABEL, LETTER = 1.5, 0.075  # inches: the least space for names, and a letter's


@default_style()
def contact_sheet(images: UInt8[Tensor, "*image h w 3"], *, path: str | PathLike[str], seed: int = 0) -> None:
    """Write a PNG with every corruption (rows) at every severity (columns), after the clean image.

    Of several images, the rows show one after the other.
    """
    whole = images.reshape(-1, *images.shape[-3:])
    names = CORRUPTIONS + EXTRA_CORRUPTIONS
    clean = dict(zip(names, cycle(whole), strict=False))

    def cell(name: str, severity: int) -> Tensor:
        return corrupt(clean[name][None], corruption=name, severity=severity, seed=seed)[0]

    cells = {name: {level: cell(name, level) for level in SEVERITIES} for name in names}
    sheet_of(cells, clean=clean).savefig(path)


@default_style()
def sheet_of(
    cells: Mapping[str, Mapping[int, Tensor]], *, clean: Mapping[str, Tensor] | None = None
) -> "Figure":
    """A figure of uint8 images [h, w, 3]: one row per corruption, one column per severity; extra corruptions in grey.

    clean: by row, the same image without corruption, for a first column.
    """
    from matplotlib.figure import Figure

    names = list(cells)
    headings = [*(["clean"] if clean else []), *map(str, cells[names[0]])]
    rows = {
        name: torch.stack(
            [image.cpu() for image in [*([clean[name]] if clean else []), *cells[name].values()]]
        )
        for name in names
    }
    height, width = rows[names[0]].shape[1:3]
    down = len(names) if len(names) <= ONE_BLOCK else -(-len(names) // 2)
    blocks = [names[:down], names[down:]] if down < len(names) else [names]
    # In inches: a cell is 0.75 wide; names are on the left, severities above.
    across, tall, above = 0.75 * len(headings), 0.75 * height / width * down, 0.55
    label = max(LABEL, 0.2 + LETTER * max(map(len, names)))
    size = (len(blocks) * (label + across) + 0.05, tall + above)
    figure = Figure(figsize=size, dpi=128)
    for index, block in enumerate(blocks):
        left = label + index * (label + across)
        share = len(block) / down
        place = (left / size[0], tall * (1 - share) / size[1], across / size[0], tall * share / size[1])
        _draw_block(figure.add_axes(place), {name: rows[name] for name in block}, headings)
    return figure


def _draw_block(axes: "Axes", rows: Mapping[str, Tensor], headings: list[str]) -> None:
    """One mosaic, because a hundred axes take seconds to lay out."""
    images = torch.stack(list(rows.values()))  # [row, column, h, w, 3]
    height, width = images.shape[2:4]
    gap = max(1, width // 16)
    padded = F.pad(images, (0, 0, 0, gap, 0, gap), value=255)
    mosaic = padded.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)[:-gap, :-gap]
    axes.imshow(mosaic.numpy(), interpolation="nearest" if width < WIDE else "antialiased", aspect="auto")
    axes.set_xticks([(width + gap) * column + width / 2 for column in range(len(headings))], headings)
    axes.set_yticks(
        [(height + gap) * row + height / 2 for row in range(len(rows))],
        [name.replace("_", " ") for name in rows],
    )
    for label, name in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color("#6b6b6b" if name in EXTRA_CORRUPTIONS else "black")
    axes.set_title("severity", fontsize=10)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
