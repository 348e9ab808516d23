"""Line charts and planes, drawn by matplotlib as SVG for the comparison page."""

import io
import math
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from tenet.compare.curves import Point
from tenet.compare.groups import Spread
from tenet.files.figures import default_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW_POINTS = 6  # up to this many points, error bars: a band would show intervals that were not measured
SIZE = (6.6, 4.0)  # inches
# Groups differ in colour (Okabe and Ito 2008, for every kind of colour vision) and in marker. SIGNS are the
# markers as text, for the legend.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a")
MARKERS, SIGNS = "os^Dv*P", "●■▲◆▼★✚"
INK, GRID = "#010203", "#010204"  # replaced by the page's colours, which follow light and dark
INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "tenet",  # the same curves give the same bytes
    "svg.fonttype": "none",
    "grid.color": GRID,
    **dict.fromkeys(INKED, INK),
}


def line_chart(
    curves: Sequence[Sequence[Point]], *, title: str, along: str = "step", is_root: bool = True
) -> str:
    """An HTML figure with one line for each group, in the order of COLOURS; empty if there are no points.

    along: name of the horizontal axis. is_root: the vertical axis is a square root, which spreads small values.
    Texts from run folders never enter the SVG: the title is escaped HTML.
    """
    if not any(curves):
        return ""

    def draw(axes: "Axes") -> None:
        for index, curve in enumerate(curves):
            if curve:
                _draw_curve(axes, curve, index, offset=index - (len(curves) - 1) / 2)
        axes.set_xlabel(along)
        _set_axes(axes, [point for curve in curves for point in curve], along=along, is_root=is_root)

    return svg_figure(draw, title=title)


def plane_chart(
    points: Sequence[tuple[Spread | None, Spread | None]], *, title: str, across: str, up: str
) -> str:
    """An HTML figure with a point for each group that has both figures, and its deviations over seeds.

    points: of each group, in the order of COLOURS. Empty for fewer than two points. across, up: names of the axes, which
    must not be texts from run folders.
    """
    if sum(None not in point for point in points) < 2:
        return ""

    def draw(axes: "Axes") -> None:
        for index, (x, y) in enumerate(points):
            if x is not None and y is not None:
                look: dict[str, Any] = {"color": COLOURS[index], "marker": MARKERS[index], "markersize": 6}
                axes.errorbar(x.mean, y.mean, xerr=x.deviation or 0, yerr=y.deviation or 0, **look)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.margins(0.12)
        axes.grid()
        axes.tick_params(length=0)
        axes.spines[["top", "right"]].set_visible(False)

    return svg_figure(draw, title=title)


@default_style()
def svg_figure(draw: Callable[["Axes"], None], *, title: str, size: tuple[float, float] = SIZE) -> str:
    """An HTML figure of what `draw` draws. size: width and height in inches. Raises what `draw` raises."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, facecolor="none", layout="constrained")
        draw(figure.subplots(subplot_kw={"facecolor": "none"}))
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = buffer.getvalue()
    # As part of an HTML page, without prolog and namespaces.
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg[svg.index("<svg") :])
    svg = svg.replace(INK, "currentColor").replace(GRID, "var(--rule)")
    title = escape(title)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    return f'<figure><figcaption>{title}</figcaption><div class="scroll">{svg}</div></figure>'


def _draw_curve(axes: "Axes", curve: Sequence[Point], index: int, *, offset: float) -> None:
    """offset: places from the middle of all groups, so that error bars stand side by side."""
    import numpy as np

    steps, *values = np.array(curve, float).T
    means, low, high = np.maximum(values, 0.0)
    look: dict[str, Any] = {"color": COLOURS[index], "marker": MARKERS[index], "markersize": 4.5}
    if len(curve) <= FEW_POINTS:
        steps += offset * 0.012 * (np.ptp(steps) or 1.0)
        axes.errorbar(steps, means, (means - low, high - means), linewidth=1.2, **look)
        return
    axes.fill_between(steps, low, high, color=COLOURS[index], alpha=0.2, linewidth=0)
    every = max(1, len(curve) // 8)
    axes.plot(steps, means, markevery=(index % every, every), **look)


def _set_axes(axes: "Axes", points: Sequence[Point], *, along: str, is_root: bool) -> None:
    import numpy as np

    top = max(point.high for point in points)
    top = top if top > 1e-100 else 1.0  # a curve of zeros has no height of its own
    axes.set_ylim(0.0, 1.02 * top)
    if is_root:
        axes.set_yscale("function", functions=(np.sqrt, np.square))
        axes.set_yticks(_root_ticks(top))
    if along == "step":
        axes.set_xlim(left=0)
    axes.locator_params(axis="x", integer=True, min_n_ticks=5)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(axis="y")
    axes.tick_params(length=0)
    axes.spines[["top", "left", "right"]].set_visible(False)


def _root_ticks(top: float) -> list[float]:
    """0 and values 1, 2, 5 times powers of ten up to `top`, with room between them on an axis of square roots."""
    ticks = [0.0]
    exponent = math.floor(math.log10(top))
    for value in (digit * 10.0**power for power in range(exponent, exponent - 3, -1) for digit in (5, 2, 1)):
        if value <= top and all(abs(math.sqrt(value / top) - math.sqrt(t / top)) >= 0.12 for t in ticks):
            ticks.append(value)
    return sorted(ticks)
