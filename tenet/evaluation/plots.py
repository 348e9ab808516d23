"""Pictures of the errors under corruption: a heatmap, and curves over severity."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenet.corruptions.names import CORRUPTIONS
from tenet.evaluation.metrics import CorruptionErrors, mean
from tenet.files.atomic import write_atomically
from tenet.files.figures import default_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
TICKS = (0, 1, 2, 5, 10, 20, 30, 40, 50, 60, 80, 100)  # with room between them on a scale of square roots


@default_style()
def save_figure(figure: "Figure", path: Path, *, dpi: float | None = None) -> Path:
    """Write a PNG file, with the figure's own resolution unless `dpi` is given."""
    # The format must be given: the name of the temporary file doesn't end in it.
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=dpi or figure.dpi, format="png"))
    return path


@default_style()
def draw_heatmap(errors: CorruptionErrors, *, title: str, quantity: str = "top-1 error, %") -> "Figure":
    """Corruptions down, severities and their mean across, the error or another `quantity` in every cell.

    The colours spread over the values that there are, small ones more. Extra corruptions are below a gap.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    names = sorted(errors, key=lambda name: name not in CORRUPTIONS)
    severities = sorted(errors[names[0]])
    rows = [[errors[name][severity] for severity in severities] for name in names]
    values = [[*row, mean(row)] for row in rows]
    figure = Figure(
        figsize=(3.4 + 0.75 * len(values[0]), 2.0 + 0.34 * len(names)), dpi=DPI, layout="constrained"
    )
    axes = figure.subplots()
    low, high = min(map(min, values)), max(map(max, values))
    norm = PowerNorm(0.5, vmin=low, vmax=max(high, low + 1e-6))
    image = axes.imshow(values, cmap="magma_r", norm=norm, aspect="auto")
    axes.set_xticks(range(len(values[0])), [*map(str, severities), "mean"])
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_xlabel("severity")
    axes.tick_params(length=0)
    axes.axhline(sum(name in CORRUPTIONS for name in names) - 0.5, color="white", linewidth=4)
    axes.axvline(len(severities) - 0.5, color="white", linewidth=4)
    axes.spines[:].set_visible(False)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            look: dict[str, Any] = {"fontsize": 8, "color": _text_color(image.cmap(float(norm(value))))}
            weight = "bold" if column == len(severities) else "normal"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontweight=weight, **look)
    axes.set_title(title, fontsize=10, parse_math=False)
    ticks = [tick for tick in TICKS if low <= tick <= high]
    figure.colorbar(image, label=quantity, shrink=0.8, ticks=ticks, format="{x:g}")
    return figure


def _text_color(background: Sequence[float]) -> str:
    """Black or white: the one with more contrast to the background (WCAG 2, relative luminance)."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in background[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if luminance > 0.179 else "white"


@default_style()
def draw_curves(errors: CorruptionErrors, *, clean_pct: float, title: str) -> "Figure":
    """A small plot for every corruption: error over severity, and the clean error as a dashed line."""
    from matplotlib.figure import Figure

    names = sorted(errors, key=lambda name: name not in CORRUPTIONS)
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    top = max(max(by_severity.values()) for by_severity in errors.values())
    figure = Figure(figsize=(2.1 * columns, 1.7 * rows + 0.6), dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, name in zip(grid, names, strict=False):
        severities = sorted(errors[name])
        values = [errors[name][severity] for severity in severities]
        axes.axhline(clean_pct, color="gray", linestyle="--", linewidth=0.8)
        axes.plot(severities, values, marker="o", markersize=3, color="C0" if name in CORRUPTIONS else "C7")
        axes.set_title(f"{name.replace('_', ' ')}: {mean(values):.1f} %", fontsize=8)
        axes.set_ylim(0, 1.08 * max(top, clean_pct, 1.0))
        axes.set_xticks(severities)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("severity", fontsize=9)
    figure.supylabel("top-1 error, %", fontsize=9)
    figure.suptitle(title, fontsize=10, parse_math=False)
    return figure
