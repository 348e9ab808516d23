"""A comparison as tables of texts, and their Markdown, LaTeX and CSV."""

import csv
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

from tenet.compare.evaluations import MCE, ROBUST, TEST_ERROR
from tenet.compare.groups import Comparison, Difference, Group, Spread
from tenet.compare.keys import as_number
from tenet.errors import counted, printable

# Clean error and mCE in percent, as printed in arXiv 2103.02152 and, for AugMix and standard training, in
# arXiv 1912.02781: a plain mean on CIFAR-C, relative to AlexNet on ImageNet-C.
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
NOTES = "Notes:"
OVERLAP = "†"
"""After an mCE: the training showed the network some of the benchmark's corruptions."""


class Sheet(NamedTuple):
    """A table of texts: the first `labels` columns hold words, the others figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int
    is_published: bool = False


def sheets(comparison: Comparison, *, published: bool = False) -> list[Sheet]:
    keys, columns, baseline = comparison.keys or ("group",), comparison.columns, comparison.baseline
    means, differences = [], []
    for group in comparison.groups:
        values = group.short_values or ("all runs",)
        spreads = (_spread(group, name) for name in columns)
        means.append((*values, *spreads, str(len(group.runs))))
        if group is not baseline:
            differences.append((*values, *(_difference(comparison, group, name) for name in columns)))
    found = [Sheet("Mean ± sample deviation over seeds", (*keys, *columns, "seeds"), tuple(means), len(keys))]
    if differences:
        title = f"Difference from {baseline.label}, paired by seed [95 % Student's t interval]"
        found.append(Sheet(title, (*keys, *columns), tuple(differences), len(keys)))
    if published:
        header = ("published", "data set", *PUBLISHED_COLUMNS)
        found.append(Sheet("Published figures, not measured here", header, PUBLISHED, 2, True))
    return found


def notes(comparison: Comparison) -> list[str]:
    """The notes on groups, then a line for each run that is left out, wholly or in part."""
    left_out = [f"{run.folder}: {run.problem}" for run in comparison.problems]
    return [*group_notes(comparison), *map(printable, left_out)]


def group_notes(comparison: Comparison) -> list[str]:
    """Groups that mix settings, and runs with TENET that never took an inhibited step."""
    mixed = comparison.mixed_keys
    lines = [f"runs within one group differ in {printable(', '.join(mixed))}"] if mixed else []
    for group in comparison.groups:
        if plain := sum(run.is_never_inhibited for run in group.runs):
            runs = f"{counted(plain, 'run')} of {group.label}"
            lines.append(f"no inhibited step was taken in {runs}: plain training")
        if group.overlaps:
            names = printable(", ".join(group.overlaps))
            lines.append(
                f"{OVERLAP} {group.label or 'all runs'}: trained with {names}, which overlap with the benchmark"
            )
    aside = [run.folder for run in comparison.members if run.set_aside_from]
    lines += [
        printable(f"{folder}: set aside by rerun=true; no finished run has replaced it") for folder in aside
    ]
    return lines


def _spread(group: Group, column: str) -> str:
    spread = group.spread(column)
    mark = f" {OVERLAP}" if group.overlaps and spread is not None and column.startswith(MCE) else ""
    return spread_text(spread, column=column, runs=len(group.runs)) + mark


def _difference(comparison: Comparison, group: Group, column: str) -> str:
    for side in (group, comparison.baseline):
        if not side.by_seed(column):
            missing = "not evaluated" if column.startswith((MCE, ROBUST)) else "not measured"
            return missing if side is group else f"{side.label} {missing}"
    return difference_text(comparison.difference(group, column), column=column)


def number_text(value: float, *, column: str, sign: str = "") -> str:
    """Two decimals for percentages, four significant digits for other figures."""
    is_percent = column.endswith(("%", "_pct")) or "_pct, " in column
    return format(value, f"{sign}.2f" if is_percent else f"{sign}.4g")


def spread_text(spread: Spread | None, *, column: str, runs: int) -> str:
    """Such as `5.31 ± 0.74`, with the number of seeds if not all runs have the figure."""
    if spread is None:
        return "-"
    mean = number_text(spread.mean, column=column)
    deviation = "" if spread.deviation is None else f" ± {number_text(spread.deviation, column=column)}"
    fewer = "" if spread.seeds == runs else f" ({spread.seeds} of {runs} seeds)"
    return f"{mean}{deviation}{fewer}"


def difference_text(difference: Difference, *, column: str) -> str:
    """Such as `+0.81 [+0.18, +1.37] (5 pairs)`."""
    if difference.mean is None:
        return "no common seed"
    pairs = counted(difference.pairs, "pair")
    texts = [number_text(v, column=column, sign="+") for v in (difference.mean, *(difference.interval or ()))]
    if difference.interval is None:
        return f"{texts[0]} ({pairs}: too few for an interval)"
    return f"{texts[0]} [{texts[1]}, {texts[2]}] ({pairs})"


def markdown(comparison: Comparison, *, published: bool = False) -> str:
    parts = []
    for sheet in sheets(comparison, published=published):
        rule = ["---" if index < sheet.labels else "---:" for index in range(len(sheet.header))]
        cells = [
            "| " + " | ".join(map(_markdown_text, row)) + " |" for row in (sheet.header, rule, *sheet.rows)
        ]
        parts.append("\n".join([f"**{_markdown_text(sheet.title)}**", "", *cells]))
    if lines := notes(comparison):
        parts.append(f"{NOTES}\n\n" + "\n".join(f"- {_markdown_text(line)}" for line in lines))
    return "\n\n".join(parts) + "\n"


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\|`*_\[])", r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;")


LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        OVERLAP: r"$\dagger$",
    }
    | {character: f"\\{character}" for character in "&%$#_{}"}
)


def latex(comparison: Comparison, *, published: bool = False) -> str:
    """tabular environments for the booktabs package, with the notes as comments."""
    lines = []
    for sheet in sheets(comparison, published=published):
        layout = "l" * sheet.labels + "r" * (len(sheet.header) - sheet.labels)
        lines += [f"% {sheet.title}", f"\\begin{{tabular}}{{{layout}}}", "\\toprule"]
        lines += [_latex_row(sheet.header), "\\midrule", *map(_latex_row, sheet.rows)]
        lines += ["\\bottomrule", "\\end{tabular}", ""]
    return "\n".join([*lines, *(f"% {line}" for line in notes(comparison))]) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    texts = (cell.translate(LATEX) for cell in cells)
    texts = (re.sub(r"(?<![\w.])-(?=\d)", "$-$", text) for text in texts)  # a minus sign, not a hyphen
    # {}: LaTeX would read a bracket at the start of a row as an argument of the \\ before it.
    return "{}" + " & ".join(texts) + r" \\"


def csv_text(comparison: Comparison, *, published: bool = False) -> str:
    """One line for each group and figure, in full precision."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = ("figure", "mean", "deviation", "seeds", "difference", "low", "high", "pairs")
    rows: list[Sequence[object]] = [(*comparison.keys, *names, *["published"] * published)]
    for group in comparison.groups:
        for column in comparison.columns:
            spread, difference = group.spread(column), comparison.difference(group, column)
            if spread is not None:
                paired = (difference.mean, *(difference.interval or ("", "")), difference.pairs)
                paired = ("",) * 4 if group is comparison.baseline else paired
                rows.append((*group.values, column, *spread, *paired, *[""] * published))
    for name, dataset, *figures in PUBLISHED if published else ():
        for column, value in zip(PUBLISHED_COLUMNS, figures, strict=True):
            if value != "-":
                source = f"{name}, {dataset}; not measured here"
                rows.append((*[""] * len(comparison.keys), column, value, *[""] * 6, source))
    writer.writerows([_defuse(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def _defuse(cell: object) -> object:
    """Put an apostrophe before a text that a spreadsheet would run as a formula."""
    is_formula = isinstance(cell, str) and re.match(r"[=+\-@].", cell) and as_number(cell) is None
    return f"'{cell}" if is_formula else cell
