"""Pictures of the corruptions."""

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING

from jaxtyping import UInt8
from torch import Tensor

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
    figure = Figure(figsize=(len(severities) + 1.8, len(cells) + 0.3), layout="constrained")
    axes = figure.subplots(len(cells), len(severities), squeeze=False)
    for row, (name, by_severity) in zip(axes, cells.items(), strict=True):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axis, picture in zip(row, by_severity.values(), strict=True):
            axis.imshow(picture.cpu().numpy(), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    for axis, severity in zip(axes[0], severities, strict=True):
        axis.set_title(f"severity {severity}", fontsize="medium")
    return figure
