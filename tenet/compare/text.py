"""A comparison as tables for the terminal, Markdown, LaTeX and CSV."""

import csv
import io
import re
import shutil
from collections.abc import Sequence
from typing import NamedTuple

from tenet.compare.groups import Comparison, Difference, Group, Spread
from tenet.compare.keys import as_number
from tenet.compare.runs import TEST_ERROR
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

LEFT_OUT = "Left out, in part, or mixed:"


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
            tuple((*labels(group), *_spreads(group, columns), str(len(group.runs))) for group in groups),
            len(keys),
        )
    ]
    others = [group for group in groups if group is not comparison.baseline]
    if others:
        rows = tuple(
            (
                *labels(group),
                *(difference_text(comparison.difference(group, name), column=name) for name in columns),
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
    """A line for every run that is not, or not wholly, in the tables; one for groups that mix settings."""
    left_out = [f"{run.folder}: {run.problem}" for run in comparison.problems]
    return [*mixed_note(comparison), *map(printable, left_out)]


def mixed_note(comparison: Comparison) -> list[str]:
    mixed = comparison.mixed_keys
    return [f"runs within one group differ in {printable(', '.join(mixed))}"] if mixed else []


def labels(group: Group) -> tuple[str, ...]:
    return group.values or ("all runs",)


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


def terminal(comparison: Comparison, *, published: bool = False) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = shutil.get_terminal_size((160, 24)).columns
    console = Console(file=io.StringIO(), width=width)
    for sheet in sheets(comparison, published=published):
        console.print(Text(sheet.title), soft_wrap=True)
        # Text, not str: rich would read brackets in names as its markup.
        table = Table()
        for index, name in enumerate(sheet.header):
            is_label = index < sheet.labels
            # A key's last part on a line of its own: three more columns fit.
            head = ".\n".join(name.rsplit(".", 1)) if is_label else name
            table.add_column(Text(head), justify="left" if is_label else "right", no_wrap=is_label)
        for row in sheet.rows:
            table.add_row(*map(Text, row))
        console.print(table)
    lines = notes(comparison)
    heading = [LEFT_OUT] if lines else []
    return console.file.getvalue() + "\n".join([*heading, *lines]) + ("\n" if lines else "")  # type: ignore[attr-defined]


def markdown(comparison: Comparison, *, published: bool = False) -> str:
    parts = []
    for sheet in sheets(comparison, published=published):
        rule = ["---" if index < sheet.labels else "---:" for index in range(len(sheet.header))]
        rows = [sheet.header, tuple(rule), *sheet.rows]
        cells = ["| " + " | ".join(_markdown_text(cell) for cell in row) + " |" for row in rows]
        parts.append("\n".join([f"**{_markdown_text(sheet.title)}**", "", *cells]))
    if lines := notes(comparison):
        parts.append(f"{LEFT_OUT}\n\n" + "\n".join(f"- {_markdown_text(line)}" for line in lines))
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
    """A line for each group and figure, in full precision; a line with `problem` for what is left out."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")

    def write(cells: Sequence[object]) -> None:
        writer.writerow([_no_formula(cell) for cell in cells])

    names = ("figure", "mean", "deviation", "seeds", "difference", "low", "high", "pairs", "run", "problem")
    write([*comparison.keys, *names])
    for group in comparison.groups:
        for column in comparison.columns:
            spread, difference = group.spread(column), comparison.difference(group, column)
            if spread is not None:
                against = [difference.mean, *(difference.interval or ("", "")), difference.pairs]
                shown = [""] * 4 if group is comparison.baseline else against
                write([*group.values, column, *spread, *shown, "", ""])
    for run in comparison.problems:
        row = [*("" for _ in comparison.keys), *("" for _ in names[:-2])]
        write([*row, printable(str(run.folder)), printable(run.problem)])
    if published:
        blank = ["" for _ in comparison.keys]
        for name, dataset, *figures in PUBLISHED:
            for figure, value in zip(PUBLISHED_COLUMNS, figures, strict=True):
                if value != "-":
                    about = f"{name}, {dataset}"
                    write([*blank, figure, value, *[""] * 6, about, "published, not measured here"])
    return buffer.getvalue()


def _no_formula(cell: object) -> object:
    """A text out of a run folder that a spreadsheet would reckon with, or run, gets an apostrophe before it."""
    is_formula = isinstance(cell, str) and re.match(r"[=+\-@].", cell) and as_number(cell) is None
    return f"'{cell}" if is_formula else cell
