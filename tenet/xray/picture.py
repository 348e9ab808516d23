"""The picture of an X-ray: groups, where they are damped, and the evidence before and after."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tenet.files.figures import default_style
from tenet.xray.figures import Explanation, XRay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A colour for each group whose map is shown, one for the other damped groups, one for groups that pass.
MAP_COLORS, DAMPED, PASSING = ("#d1495b", "#2e86ab", "#e8a33d"), "#9a8fb5", "#c8c8c8"


@default_style()
def draw_xray(xray: XRay, *, title: str, corruption: str) -> "Figure":
    """A row for each image: the image, the importance of its groups, where the most important groups are damped, the
    evidence before and after, and the corrupted version with the overlap of its groups."""
    from matplotlib.figure import Figure

    ranks = ("most important", "second", "third")
    headings = ("image", "importance of its groups", *ranks, "evidence before", "evidence after", corruption)
    rows, explanation = xray.rows, xray.explanation
    figure = Figure(figsize=(12.8, 1.62 * len(rows) + 1.1), layout="constrained")
    # parse_math: a name with two dollar signs is not a formula.
    figure.suptitle(title, fontsize=11, parse_math=False)
    figure.supxlabel(
        "Coloured groups argue for the class and are damped where their colour lies over the image (1 - R); grey "
        "ones pass. Evidence: the features' sum by importance, before and after on one scale.\nOverlap: adjusted "
        "Rand index of the corrupted image's groups with the clean one's; in brackets, of the clean image's groups "
        "from other initial medoids.",
        fontsize=8,
        color="#555555",
    )
    widths = [1, 1.5, *[1] * (len(headings) - 2)]
    grid = figure.subplots(len(rows), len(headings), squeeze=False, width_ratios=widths)
    for axes, heading in zip(grid[0], headings, strict=True):
        axes.set_title(heading, fontsize=9)
    for index, (cells, row) in enumerate(zip(grid, rows, strict=True)):
        image = xray.images[index]
        for axes in [cells[0], *cells[2:]]:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        cells[0].imshow(image.numpy())
        cells[0].set_xlabel(f"{row['image']}: {row['label']}", fontsize=8, parse_math=False)
        _draw_groups(cells[1], cells[2:-3], explanation, image, index)
        cells[-1].imshow(xray.corrupted[index].numpy())
        overlap = f"overlap {row['group_overlap']:.2f} ({row['group_overlap_other_medoids']:.2f})"
        cells[-1].set_xlabel(overlap, fontsize=8)
        pair = torch.stack([explanation.evidence[index], explanation.evidence_inhibited[index]])
        # One scale for both, so that damping is visible.
        pair /= pair.max().clamp(min=torch.finfo(torch.float32).tiny)
        for axes, heat, name in zip(cells[-3:-1], pair, ("before", "inhibited"), strict=True):
            share = upsample(heat, image).numpy()
            draw_faint(axes, image)
            axes.imshow(share, cmap="inferno", vmin=0, vmax=1, alpha=share**0.5)
            predicted, confidence = row["clean"][name].values()
            label = f"{predicted}: {100 * confidence:.1f} %"
            axes.set_xlabel(label, fontsize=8, parse_math=False)
    return figure


def _draw_groups(
    bars: "Axes", maps: Sequence["Axes"], explanation: Explanation, image: UInt8[Tensor, "h w 3"], index: int
) -> None:
    """Bars from the most important group down, and 1 - R of the first ones as colour over the image."""
    from matplotlib.colors import to_rgb

    importance, order = explanation.importance[index].sort(descending=True, stable=True)
    damped = int((importance > 0).sum())
    colors = [
        *MAP_COLORS[:damped],
        *[DAMPED] * (damped - len(MAP_COLORS)),
        *[PASSING] * (len(order) - damped),
    ]
    names = [f"g{group}, {int(explanation.sizes[index, group])} ch." for group in order.tolist()]
    bars.barh(range(len(names)), importance.numpy(), color=colors, height=0.75)
    bars.set_yticks(range(len(names)), names, fontsize=min(7, 60 / len(names)))
    bars.invert_yaxis()
    bars.axvline(0, color="#555555", linewidth=0.6)
    bars.ticklabel_format(axis="x", scilimits=(-2, 2))
    bars.locator_params(axis="x", nbins=4)
    bars.tick_params(axis="x", labelsize=6)
    bars.tick_params(axis="y", length=0)
    bars.xaxis.offsetText.set_fontsize(6)
    bars.spines[["top", "right", "left"]].set_visible(False)
    for axes, group, name, color in zip(maps, order[:damped], names, MAP_COLORS, strict=False):
        damping = upsample(1 - explanation.reversed_maps[index, group], image)
        painted = torch.tensor(to_rgb(color)).expand(*damping.shape, 3)
        draw_faint(axes, image)
        axes.imshow(torch.cat([painted, damping[..., None]], dim=2).numpy())
        axes.set_xlabel(name, fontsize=8)


def draw_faint(axes: "Axes", image: UInt8[Tensor, "h w 3"]) -> None:
    """The image in dark grey, as a background for colour."""
    axes.imshow(image.float().mean(dim=2).numpy(), cmap="gray", vmin=0, vmax=2 * 255)


def upsample(values: Float[Tensor, "h w"], image: UInt8[Tensor, "height width 3"]) -> Tensor:
    size = (image.shape[0], image.shape[1])
    return nn.functional.interpolate(values[None, None], size=size, mode="bilinear")[0, 0].clamp(0, 1)
