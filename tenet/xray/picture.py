"""The picture of an X-ray: groups, where they are damped, and the evidence before and after."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from tenet.errors import counted
from tenet.files.figures import default_style
from tenet.xray.figures import Explanation, XRay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A colour for each group whose map is shown, one for the other damped groups, one for groups that pass.
CHANGED = "#b00020"
MAP_COLORS, DAMPED, PASSING = ("#d1495b", "#2e86ab", "#e8a33d"), "#9a8fb5", "#c8c8c8"


@default_style()
def draw_xray(xray: XRay, *, title: str, corruption: str) -> "Figure":
    """A row for each image: the image, the importance of its groups, where the most important groups are damped, the
    evidence before and after, and the corrupted version with the overlap of its groups."""
    from matplotlib.figure import Figure

    ranks = ("most important", "second", "third")
    headings = (
        "image",
        "share of the importance",
        *ranks,
        "evidence before",
        "evidence after",
        f"in {corruption}",
    )
    rows, explanation = xray.rows, xray.explanation
    figure = Figure(figsize=(13.6, 1.75 * len(rows) + 1.1), layout="constrained")
    # parse_math: a name with two dollar signs is not a formula.
    figure.suptitle(title, fontsize=11, parse_math=False)
    figure.supxlabel(
        "Coloured groups argue for the class and are damped where their colour lies over the image; grey ones pass. "
        "Evidence: the features' sum by importance, before and after on one scale.\nAgreement of the corrupted image's "
        "groups with those of the clean one, from 0 for chance to 1 (adjusted Rand index); and of the clean image's "
        "groups from another random start.",
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
        cells[0].set_xlabel(f"class {row['label']}\ntest image {row['image']}", fontsize=8, parse_math=False)
        _draw_groups(cells[1], cells[2:-3], explanation, image, index)
        cells[-1].imshow(xray.corrupted[index].numpy())
        overlap = (
            f"agreement {row['group_overlap']:.2f}\nof another start {row['group_overlap_other_medoids']:.2f}"
        )
        cells[-1].set_xlabel(overlap, fontsize=8)
        pair = torch.stack([explanation.evidence[index], explanation.evidence_inhibited[index]])
        # One scale for both, so that damping is visible.
        pair /= pair.max().clamp(min=torch.finfo(torch.float32).tiny)
        for axes, heat, name in zip(cells[-3:-1], pair, ("before", "inhibited"), strict=True):
            share = upsample(heat, image).numpy()
            draw_faint(axes, image)
            axes.imshow(share, cmap="inferno", vmin=0, vmax=1, alpha=share**0.5)
            predicted, confidence = row["clean"][name].values()
            verb = "predicted" if name == "before" else "with the mask"
            text = f"{verb}: {predicted}\n{100 * confidence:.1f} %"
            color = "black" if predicted == row["label"] else CHANGED
            axes.set_xlabel(text, fontsize=8, color=color, parse_math=False)
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
    # As shares: the sigmoid's gradients differ by orders of magnitude between images.
    values = explanation.importance[index]
    shares = 100 * values / values.abs().sum().clamp(min=torch.finfo(torch.float32).tiny)
    draw_shares(bars, shares, sizes=explanation.sizes[index], order=order.tolist(), colors=colors)
    for axes in maps[damped:]:
        axes.text(
            0.5, 0.5, "no other group\nargues for it", ha="center", va="center", fontsize=8, color="#777777"
        )
    for axes, group, color in zip(maps, order[:damped].tolist(), MAP_COLORS, strict=False):
        damping = upsample(1 - explanation.reversed_maps[index, group], image)
        painted = torch.tensor(to_rgb(color)).expand(*damping.shape, 3)
        draw_faint(axes, image)
        axes.imshow(torch.cat([painted, damping[..., None]], dim=2).numpy())
        axes.set_xlabel(f"damped: group {group}", fontsize=8)


def draw_shares(
    axes: "Axes",
    shares: Float[Tensor, " group"],
    *,
    sizes: Int64[Tensor, " group"],
    order: Sequence[int],
    colors: Sequence[str],
) -> None:
    """A bar for each group's share of the summed |importance| in percent. order, colors: of the groups, from above."""
    names = [f"group {group}: {counted(int(sizes[group]), 'channel')}" for group in order]
    ordered = shares[list(order)].tolist()
    bars = axes.barh(range(len(order)), ordered, color=colors, height=0.78)
    axes.bar_label(bars, [f"{share:+.0f} %" for share in ordered], fontsize=7, padding=2)
    axes.set_yticks(range(len(order)), names, fontsize=min(8, 60 / len(order)))
    axes.invert_yaxis()
    axes.axvline(0, color="#555555", linewidth=0.6)
    axes.margins(x=0.3)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)


def draw_faint(axes: "Axes", image: UInt8[Tensor, "h w 3"]) -> None:
    """The image in dark grey, as a background for colour."""
    axes.imshow(image.float().mean(dim=2).numpy(), cmap="gray", vmin=0, vmax=2 * 255)


def upsample(values: Float[Tensor, "h w"], image: UInt8[Tensor, "height width 3"]) -> Tensor:
    size = (image.shape[0], image.shape[1])
    return nn.functional.interpolate(values[None, None], size=size, mode="bilinear")[0, 0].clamp(0, 1)
