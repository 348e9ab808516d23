"""Pictures of the errors under corruption: a heatmap, and curves over severity."""

from pathlib import Path
from typing import TYPE_CHECKING

from tenet.corruptions.names import CORRUPTIONS
from tenet.evaluation.metrics import CorruptionErrors, mean
from tenet.files.atomic import write_atomically
from tenet.files.figures import default_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150


@default_style()
def save_figure(figure: "Figure", path: Path, *, dpi: float | None = None) -> Path:
    """Write a PNG file, with the figure's own resolution unless `dpi` is given."""
    # The format must be given: the name of the temporary file doesn't end in it.
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=dpi or figure.dpi, format="png"))
    return path


@default_style()
def draw_heatmap(errors: CorruptionErrors, *, title: str, quantity: str = "top-1 error, %") -> "Figure":
    """Corruptions down, severities across, the error or another `quantity` in every cell; extra corruptions below a gap."""
    from matplotlib.figure import Figure

    names = sorted(errors, key=lambda name: name not in CORRUPTIONS)
    severities = sorted(errors[names[0]])
    values = [[errors[name][severity] for severity in severities] for name in names]
    size = (2.8 + 0.75 * len(severities), 1.6 + 0.34 * len(names))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="magma_r", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(severities)), [str(severity) for severity in severities])
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("severity")
    axes.tick_params(length=0)
    axes.axhline(sum(name in CORRUPTIONS for name in names) - 0.5, color="white", linewidth=4)
    axes.spines[:].set_visible(False)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            color = "white" if value > 50 else "black"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=8, color=color)
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, label=quantity, shrink=0.8)
    return figure


@default_style()
def draw_curves(errors: CorruptionErrors, *, clean_pct: float, title: str) -> "Figure":
    """A small plot for every corruption: error over severity, and the clean error as a dashed line."""
    from matplotlib.figure import Figure

    names = sorted(errors, key=lambda name: name not in CORRUPTIONS)
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.1 * columns, 1.7 * rows + 0.6), dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, name in zip(grid, names, strict=False):
        severities = sorted(errors[name])
        values = [errors[name][severity] for severity in severities]
        axes.axhline(clean_pct, color="gray", linestyle="--", linewidth=0.8)
        axes.plot(severities, values, marker="o", markersize=3, color="C0" if name in CORRUPTIONS else "C7")
        axes.set_title(f"{name}: {mean(values):.1f} %", fontsize=8)
        axes.set_ylim(0, 100)
        axes.set_xticks(severities)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("severity", fontsize=9)
    figure.supylabel("top-1 error, %", fontsize=9)
    figure.suptitle(title.replace("\n", " "), fontsize=10)
    return figure
