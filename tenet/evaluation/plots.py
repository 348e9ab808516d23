"""An evaluation as pictures: heatmap, curves, and a sheet of one image under every cell."""

from pathlib import Path
from typing import TYPE_CHECKING

from tenet.corruptions.names import CORRUPTIONS
from tenet.evaluation.metrics import mean
from tenet.evaluation.report import SOURCES, RobustnessReport
from tenet.files.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_pictures(report: RobustnessReport, stem: Path) -> dict[str, Path]:
    """Draw what the cells allow beside `stem`: by metric name, the PNG files."""
    if not report.cells:
        return {}
    written = {}
    for name, draw in {"heatmap": draw_heatmap, "curves": draw_curves}.items():
        written[f"corruption/{name}"] = save_figure(draw(report), stem.with_name(f"{stem.name}-{name}.png"))
    return written


def save_figure(figure: "Figure", path: Path, *, dpi: int = 150) -> Path:
    # The format is named because the temporary file's name does not tell it.
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=dpi, format="png"))
    return path


def _headline(report: RobustnessReport) -> str:
    mce = "" if report.mce_pct is None else f", mCE {report.mce_pct:.2f} %"
    return f"clean error {report.clean.error_pct:.2f} %{mce}\n({SOURCES[report.source]})"


def draw_heatmap(report: RobustnessReport) -> "Figure":
    """Corruptions down, severities across, the error in every cell; extra corruptions below a gap."""
    from matplotlib.figure import Figure

    names, severities = list(report.errors), sorted({cell.severity for cell in report.cells})
    names.sort(key=lambda name: name not in CORRUPTIONS)
    values = [[report.errors[name][severity] for severity in severities] for name in names]
    figure = Figure(figsize=(2.8 + 0.75 * len(severities), 1.6 + 0.34 * len(names)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="magma_r", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(severities)), [str(severity) for severity in severities])
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_xlabel("severity")
    axes.tick_params(length=0)
    axes.axhline(sum(name in CORRUPTIONS for name in names) - 0.5, color="white", linewidth=4)
    axes.spines[:].set_visible(False)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            color = "white" if value > 50 else "black"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=8, color=color)
    axes.set_title(_headline(report), fontsize=10)
    figure.colorbar(image, label="top-1 error, %", shrink=0.8)
    return figure


def draw_curves(report: RobustnessReport) -> "Figure":
    """A small plot for every corruption: error over severity, above the clean error as a dashed line."""
    from matplotlib.figure import Figure

    names = sorted(report.errors, key=lambda name: name not in CORRUPTIONS)
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.1 * columns, 1.7 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, name in zip(grid, names, strict=False):
        severities = sorted(report.errors[name])
        errors = [report.errors[name][severity] for severity in severities]
        axes.axhline(report.clean.error_pct, color="gray", linestyle="--", linewidth=0.8)
        axes.plot(severities, errors, marker="o", markersize=3, color="C0" if name in CORRUPTIONS else "C7")
        axes.set_title(f"{name.replace('_', ' ')}: {mean(errors):.1f} %", fontsize=8)
        axes.set_ylim(0, 100)
        axes.set_xticks(severities)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("severity", fontsize=9)
    figure.supylabel("top-1 error, %", fontsize=9)
    figure.suptitle(_headline(report).replace("\n", " "), fontsize=10)
    return figure
