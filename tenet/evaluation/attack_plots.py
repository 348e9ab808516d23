"""Pictures of attacks: what they change, and robust accuracy over the radius."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tenet.evaluation.plots import DPI
from tenet.files.figures import default_style
from tenet.rules import to_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WRONG, RIGHT = "#c1121f", "#2b6a30"


class Shown(NamedTuple):
    """Images in [0, 1], and the names of the classes that the network gives them."""

    images: Float[Tensor, "image 3 h w"]
    predicted: Sequence[str]


@default_style()
def draw_attacks(clean: Shown, attacked: Mapping[str, Shown], *, title: str) -> "Figure":
    """A row of images without attack, which are classified right; then for each attack, by its label, a row of its images
    and a row of the differences, amplified around grey as far as the largest one allows."""
    from matplotlib.figure import Figure

    down, across = 1 + 2 * len(attacked), len(clean.images)
    figure = Figure(figsize=(1.5 + across, 0.5 + 1.2 * down), dpi=DPI, layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    _draw_row(grid[0], clean, label="no attack", right=clean.predicted)
    for row, (label, shown) in enumerate(attacked.items()):
        _draw_row(grid[1 + 2 * row], shown, label=label, right=clean.predicted)
        changes = shown.images - clean.images
        factor = 0.5 / max(changes.abs().max().item(), 1e-6)
        differences = Shown(0.5 + factor * changes, [""] * across)
        _draw_row(grid[2 + 2 * row], differences, label=f"difference\nx {factor:.0f}", right=clean.predicted)
    figure.suptitle(title, fontsize=10)
    return figure


def _draw_row(row: Sequence["Axes"], shown: Shown, *, label: str, right: Sequence[str]) -> None:
    for axes, image, name, true in zip(row, shown.images, shown.predicted, right, strict=True):
        axes.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_xlabel(name[:14], fontsize=8, color=RIGHT if name == true else WRONG, labelpad=2)
    row[0].set_ylabel(label, fontsize=8, rotation=0, ha="right", va="center")


@default_style()
def draw_radii(figures: Mapping[str, Mapping[str, Any]], *, norm: str, title: str) -> "Figure":
    """Robust accuracy over the radius, a line for each attack, from the accuracy without attack at radius 0 on.

    figures: of none and of each attack at each radius, with the keys attack, radius, robust_accuracy_pct and perhaps
    interval_pct, the interval of the error.
    """
    from matplotlib.figure import Figure

    labels = dict.fromkeys(each["attack"] for name, each in figures.items() if name != "none")
    figure = Figure(figsize=(5.2, 3.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    unit = 255 if norm == "linf" else 1
    for label, marker in zip(labels, "ovsD^", strict=False):
        points = [figures["none"], *(each for each in figures.values() if each["attack"] == label)]
        radii = [unit * to_number(each["radius"]) for each in points]
        look: dict[str, Any] = {"color": "C7", "linestyle": "--"} if label == "random search" else {}
        (line,) = axes.plot(
            radii,
            [each["robust_accuracy_pct"] for each in points],
            marker=marker,
            markersize=4,
            label=label,
            **look,
        )
        intervals = [each.get("interval_pct") for each in points]
        if all(intervals):
            bounds = torch.tensor(intervals)
            axes.fill_between(
                radii, 100 - bounds[:, 1], 100 - bounds[:, 0], color=line.get_color(), alpha=0.12, linewidth=0
            )
    axes.set_ylim(0, 103)  # room for the markers
    axes.set_xlim(0, 1.03 * max(radii))
    axes.set_xticks(radii)
    axes.set_xlabel(f"radius, {norm}" + (", in 255ths" if unit == 255 else ""))
    axes.set_ylabel("robust accuracy, %")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="lower left")
    axes.set_title(title, fontsize=10)
    return figure
