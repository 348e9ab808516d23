"""A comparison as tables for the terminal, Markdown, LaTeX and CSV."""

import csv
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

from tenet.compare.groups import Comparison, Difference, Group, Spread
from tenet.compare.keys import as_number
from tenet.compare.runs import MCE, TEST_ERROR
from tenet.errors import printable

# Clean error and mCE in percent, as printed in arXiv 2103.02152 and, of AugMix and standard training, in
# arXiv 1912.02781: on CIFAR-C a plain mean, on ImageNet-C relative to AlexNet.
PUBLISHED_COLUMNS = (TEST_ERROR, "mCE, official files, %", "mCE, official files, relative to AlexNet, %")
PUBLISHED = (
    ("TENET, ResNeXt-29", "CIFAR-10", "3.50", "12.31", "-"),
    ("TENET, ResNeXt-29", "CIFAR-100", "19.46", "35.73", "-"),
    ("AugMix with JSD, ResNeXt-29", "CIFAR-10", "-", "10.9", "-"),
    ("AugMix with JSD, ResNeXt-29", "CIFAR-100", "-", "34.9", "-"),
    ("standard, ResNeXt-29", "CIFAR-10", "-", "27.5", "-"),
    ("standard, ResNeXt-29", "CIFAR-100", "-", "53.4", "-"),
    ("TENET, ResNet-50", "ImageNet", "23.1", "-", "75.3"),
    ("TENET, more augmentation, ResNet-50", "ImageNet", "22.4", "-", "69.6"),
    ("standard, ResNet-50", "ImageNet", "23.85", "-", "76.7"),
)

NOTES = "Left out, in part, or to be known:"


class Sheet(NamedTuple):
    """A table of texts; the first `labels` columns are words, the others figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int
    is_published: bool = False


def sheets(comparison: Comparison, *, published: bool = False) -> list[Sheet]:
    keys, columns, groups = comparison.keys or ("group",), comparison.columns, comparison.groups
    found = [
        Sheet(
            "Mean ± sample deviation over seeds",
            (*keys, *columns, "seeds"),
            tuple(
                (*labels(comparison, group), *_spreads(group, columns), str(len(group.runs)))
                for group in groups
            ),
            len(keys),
        )
    ]
    others = [group for group in groups if group is not comparison.baseline]
    if others:
        rows = tuple(
            (
                *labels(comparison, group),
                *(_difference(comparison, group, name) for name in columns),
            )
            for group in others
        )
        title = f"Difference from {comparison.label(comparison.baseline)}, paired by seed [95 % bootstrap over seeds]"
        found.append(Sheet(title, (*keys, *columns), rows, len(keys)))
    if published:
        header = ("published", "data set", *PUBLISHED_COLUMNS)
        found.append(Sheet("Published figures, not measured here", header, PUBLISHED, 2, True))
    return found


def notes(comparison: Comparison) -> list[str]:
    """What is to be known of groups, then a line for every run that is not, or not wholly, in the tables."""
    left_out = [f"{run.folder}: {run.problem}" for run in comparison.problems]
    return [*group_notes(comparison), *map(printable, left_out)]


def group_notes(comparison: Comparison) -> list[str]:
    """Of groups that mix settings, and of those whose method never set in."""
    mixed = comparison.mixed_keys
    lines = [f"runs within one group differ in {printable(', '.join(mixed))}"] if mixed else []
    for group in comparison.groups:
        if plain := sum(run.is_plain_in_fact for run in group.runs):
            runs = f"{plain} run{'s' if plain > 1 else ''} of {comparison.label(group)}"
            lines.append(f"no inhibited step was taken in {runs}: plain training")
    return lines


def labels(comparison: Comparison, group: Group) -> tuple[str, ...]:
    return comparison.shown(group) or ("all runs",)


def _difference(comparison: Comparison, group: Group, column: str) -> str:
    lacking = [side for side in (group, comparison.baseline) if not side.by_seed(column)]
    if lacking:
        what = "not evaluated" if column.startswith(MCE) else "not measured"
        return what if lacking[0] is group else f"{comparison.label(lacking[0])} {what}"
    return difference_text(comparison.difference(group, column), column=column)


def _spreads(group: Group, columns: Sequence[str]) -> list[str]:
    return [spread_text(group.spread(name), column=name, runs=len(group.runs)) for name in columns]


def number_text(value: float, *, column: str, sign: str = "") -> str:
    """Percents with two digits behind the point, other figures with four in all."""
    is_percent = column.endswith(("%", "_pct")) or "_pct, " in column
    return format(value, f"{sign}.2f" if is_percent else f"{sign}.4g")


def spread_text(spread: Spread | None, *, column: str, runs: int) -> str:
    """Such as `5.31 ± 0.74`; with the number of seeds where not all runs have the figure."""
    if spread is None:
        return "-"
    mean = number_text(spread.mean, column=column)
    deviation = "" if spread.deviation is None else f" ± {number_text(spread.deviation, column=column)}"
    fewer = "" if spread.seeds == runs else f" ({spread.seeds} of {runs} seeds)"
    return f"{mean}{deviation}{fewer}"


def difference_text(difference: Difference, *, column: str) -> str:
    if difference.mean is None:
        return "no common seed"

    def signed(value: float) -> str:
        return number_text(value, column=column, sign="+")

    pairs = f"{difference.pairs} pair{'s' if difference.pairs > 1 else ''}"
    if difference.interval is None:
        return f"{signed(difference.mean)} ({pairs}: too few for an interval)"
    low, high = difference.interval
    return f"{signed(difference.mean)} [{signed(low)}, {signed(high)}] ({pairs})"


def markdown(comparison: Comparison, *, published: bool = False) -> str:
    parts = []
    for sheet in sheets(comparison, published=published):
        rule = ["---" if index < sheet.labels else "---:" for index in range(len(sheet.header))]
        rows = [sheet.header, tuple(rule), *sheet.rows]
        cells = ["| " + " | ".join(_markdown_text(cell) for cell in row) + " |" for row in rows]
        parts.append("\n".join([f"**{_markdown_text(sheet.title)}**", "", *cells]))
    if lines := notes(comparison):
        parts.append(f"{NOTES}\n\n" + "\n".join(f"- {_markdown_text(line)}" for line in lines))
    return "\n\n".join(parts) + "\n"


def _markdown_text(text: str) -> str:
    escaped = "".join(f"\\{character}" if character in "\\|`*_[" else character for character in text)
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}


def latex(comparison: Comparison, *, published: bool = False) -> str:
    """tabular environments for the booktabs package; what is left out stands in comments."""
    lines = []
    for sheet in sheets(comparison, published=published):
        layout = "l" * sheet.labels + "r" * (len(sheet.header) - sheet.labels)
        lines += [
            f"% {sheet.title}",
            f"\\begin{{tabular}}{{{layout}}}",
            "\\toprule",
            _latex_row(sheet.header),
        ]
        lines += ["\\midrule", *map(_latex_row, sheet.rows), "\\bottomrule", "\\end{tabular}", ""]
    return "\n".join([*lines, *(f"% {line}" for line in notes(comparison))]) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    # A bracket at the start of a row would be read as the argument of the \\ before it.
    texts = ("".join(LATEX.get(character, character) for character in cell) for cell in cells)
    texts = (re.sub(r"(?<![\w.])-(?=\d)", "$-$", text) for text in texts)  # a minus, no hyphen
    return "{}" + " & ".join(texts) + r" \\"


def csv_text(comparison: Comparison, *, published: bool = False) -> str:
    """A line for each group and figure, in full precision."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")

    def write(cells: Sequence[object]) -> None:
        writer.writerow([_no_formula(cell) for cell in cells])

    names = ("figure", "mean", "deviation", "seeds", "difference", "low", "high", "pairs")
    source = ("published",) if published else ()
    write([*comparison.keys, *names, *source])
    for group in comparison.groups:
        for column in comparison.columns:
            spread, difference = group.spread(column), comparison.difference(group, column)
            if spread is not None:
                against = [difference.mean, *(difference.interval or ("", "")), difference.pairs]
                shown = [""] * 4 if group is comparison.baseline else against
                write([*group.values, column, *spread, *shown, *("" for _ in source)])
    if published:
        blank = ["" for _ in comparison.keys]
        for name, dataset, *figures in PUBLISHED:
            for figure, value in zip(PUBLISHED_COLUMNS, figures, strict=True):
                if value != "-":
                    write([*blank, figure, value, *[""] * 6, f"{name}, {dataset}; not measured here"])
    return buffer.getvalue()


def _no_formula(cell: object) -> object:
    """A text out of a run folder that a spreadsheet would reckon with, or run, gets an apostrophe before it."""
    is_formula = isinstance(cell, str) and re.match(r"[=+\-@].", cell) and as_number(cell) is None
    return f"'{cell}" if is_formula else cell
