"""The differences from the baseline by corruption: paired by seed, with intervals, as a picture."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tenet.compare.charts import COLOURS, MARKERS, svg_figure
from tenet.compare.evaluations import MCE
from tenet.compare.facts import title
from tenet.compare.groups import Comparison, Group
from tenet.compare.spread import Difference, paired_difference
from tenet.corruptions.names import CORRUPTIONS, SEVERITIES
from tenet.files.atomic import write_atomically
from tenet.files.figures import default_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEAN = "mean of the 15"
AXIS = "difference in error, percentage points"
WIDTH = 6.6  # inches
EXPLANATION = (
    "Bars: 95 % Student's t intervals of the mean over pairs of equal seeds, from three pairs on. A filled mark: the "
    "interval does not contain 0; of 15 intervals, about one misses its true mean by chance. Further left is better."
)

Rows = dict[str, Difference]


def corruption_differences(group: Group, baseline: Group, column: str) -> Rows:
    """The differences by corruption, each of the mean over severities; first that of the mean over all corruptions.

    Corruptions without pairs are left out.
    """
    found = {}
    for name in CORRUPTIONS:
        ours, theirs = (_by_seed(each, column, [name]) for each in (group, baseline))
        found[name] = paired_difference(ours, baseline=theirs)
    ours, theirs = (_by_seed(each, column, CORRUPTIONS) for each in (group, baseline))
    rows = {MEAN: paired_difference(ours, baseline=theirs), **found}
    return {name: difference for name, difference in rows.items() if difference.pairs}


def _by_seed(group: Group, column: str, names: Sequence[str]) -> dict[int, float]:
    """The mean error of the runs that have all cells of these corruptions."""
    found = {}
    for run in group.runs:
        cells = run.cells.get(column, {})
        errors = [cells.get(name, {}).get(severity) for name in names for severity in SEVERITIES]
        whole = [error for error in errors if error is not None]
        if len(whole) == len(errors):
            found[run.seed] = fmean(whole)
    return found


def difference_chart(comparison: Comparison, groups: Sequence[Group], column: str) -> str:
    """An HTML figure, with the groups in the order of COLOURS; empty without a difference."""
    rows = _rows(comparison, groups, column)
    if not any(rows):
        return ""
    caption = f"difference from {comparison.baseline_label}, by corruption"
    return svg_figure(lambda axes: _draw(axes, rows), title=caption, size=(WIDTH, _height(rows)))


@default_style()
def difference_picture(comparison: Comparison) -> "Figure | None":
    """A figure with title and legend, for the first mCE of the comparison; None without a difference."""
    from matplotlib.figure import Figure

    groups = comparison.drawn
    column = next((name for name in comparison.columns if name.startswith(MCE)), "")
    rows = _rows(comparison, groups, column)
    if not any(rows):
        return None
    figure = Figure(figsize=(WIDTH + 0.6, _height(rows) + 1.0), dpi=200, layout="constrained")
    axes = figure.subplots()
    _draw(axes, rows)
    axes.grid(axis="x", color="#dcdcdc")
    axes.set_xlabel(f"{AXIS}\n(95 % intervals from three seeds on; filled: without 0)")
    figure.suptitle(
        f"{title(comparison)}\ndifference from {comparison.baseline_label}", fontsize=11, parse_math=False
    )
    for index, (group, own) in enumerate(zip(groups, rows, strict=True)):
        if own:
            axes.plot([], [], MARKERS[index], color=COLOURS[index], label=group.label)
    legend = figure.legend(loc="outside lower center", frameon=False, fontsize=9, ncols=1)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


@default_style()
def save_picture(figure: "Figure", path: Path) -> None:
    """Write a file of the kind that its suffix names. Raises StorageError if it can't be written."""
    kind = path.suffix.removeprefix(".")  # the temporary file has another suffix
    write_atomically(path, lambda temporary: figure.savefig(temporary, format=kind))


def _rows(comparison: Comparison, groups: Sequence[Group], column: str) -> list[Rows]:
    """The differences of each group; empty for a baseline."""
    pairs = [(group, comparison.baseline_of(group)) for group in groups]
    return [corruption_differences(group, base, column) if base else {} for group, base in pairs]


def _height(rows: Sequence[Rows]) -> float:
    return 0.9 + (1 + len(CORRUPTIONS)) * max(0.24, 0.08 * sum(map(bool, rows)))


def _draw(axes: "Axes", rows: Sequence[Rows]) -> None:
    """rows: of each group, in the order of COLOURS. The texts are names of corruptions."""
    names = list(dict.fromkeys(name for own in rows for name in own))
    drawn = [index for index, own in enumerate(rows) if own]
    step = 0.7 / len(drawn)
    for place, index in enumerate(drawn):
        offset = (place - (len(drawn) - 1) / 2) * step
        for name, difference in rows[index].items():
            _draw_point(axes, difference, y=names.index(name) + offset, index=index)
    axes.axvline(0, color="#808080", linewidth=1)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    if MEAN in names:
        axes.axhline(names.index(MEAN) + 0.5, color="#808080", linewidth=0.6, linestyle=":")
    axes.set_xlabel(AXIS)
    axes.margins(x=0.06)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(lambda value, place: f"{value:+g}" if value else "0")
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_point(axes: "Axes", difference: Difference, *, y: float, index: int) -> None:
    mean, interval = difference.mean, difference.interval
    assert mean is not None
    is_clear = interval is not None and not interval[0] <= 0 <= interval[1]
    look: dict[str, Any] = {"color": COLOURS[index], "marker": MARKERS[index], "markersize": 5.5}
    look |= {} if is_clear else {"markerfacecolor": "none"}
    low, high = interval or (mean, mean)
    axes.errorbar([mean], [y], xerr=([mean - low], [high - mean]), linewidth=1.4, **look)
