"""A comparison as tables of texts, and their Markdown, LaTeX and CSV."""

import csv
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

from tenet.compare.columns import direction
from tenet.compare.evaluations import MCE, ROBUST, TEST_ERROR
from tenet.compare.facts import facts, title
from tenet.compare.groups import Comparison, Group
from tenet.compare.keys import as_number
from tenet.compare.spread import Difference, Spread
from tenet.errors import counted, printable

# Clean error and mCE in percent, as printed in arXiv 2103.02152 and, for AugMix and standard training, in
# arXiv 1912.02781. On CIFAR-C, the mCE is a plain mean; on ImageNet-C, it is relative to AlexNet.
PUBLISHED_COLUMNS = (TEST_ERROR, "mCE, official files, %", "mCE, official files, relative to AlexNet, %")
PUBLISHED = (
    ("TENET, ResNeXt-29", "cifar10", "3.50", "12.31", "-"),
    ("TENET, ResNeXt-29", "cifar100", "19.46", "35.73", "-"),
    ("AugMix with JSD, ResNeXt-29", "cifar10", "-", "10.9", "-"),
    ("AugMix with JSD, ResNeXt-29", "cifar100", "-", "34.9", "-"),
    ("standard, ResNeXt-29", "cifar10", "-", "27.5", "-"),
    ("standard, ResNeXt-29", "cifar100", "-", "53.4", "-"),
    ("TENET, ResNet-50", "imagenet", "23.1", "-", "75.3"),
    ("TENET, more augmentation, ResNet-50", "imagenet", "22.4", "-", "69.6"),
    ("standard, ResNet-50", "imagenet", "23.85", "-", "76.7"),
)
NOTES = "Notes:"
MAX_NAMED = 5  # folders in a note
OVERLAP = "†"
"""After an mCE: the training showed the network some of the benchmark's corruptions."""


class Sheet(NamedTuple):
    """A table of texts: the first `labels` columns hold words, the others figures.

    best: (row, column) of the cells with the best figure of their column.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int
    is_published: bool = False
    best: frozenset[tuple[int, int]] = frozenset()


def sheets(comparison: Comparison, *, published: bool = False) -> list[Sheet]:
    keys, columns = comparison.keys or ("group",), comparison.columns
    means, differences = [], []
    for group in comparison.groups:
        values = group.short_values or ("all runs",)
        spreads = (_spread(group, name) for name in columns)
        means.append((*values, *spreads, str(len(group.runs))))
        if group not in comparison.baselines:
            differences.append((*values, *(_difference(comparison, group, name) for name in columns)))
    best = frozenset(
        (row, len(keys) + place) for place, name in enumerate(columns) for row in best_rows(comparison, name)
    )
    header = (*keys, *columns, "seeds")
    found = [Sheet("Mean ± sample deviation over seeds", header, tuple(means), len(keys), best=best)]
    if differences:
        title = f"Difference from {comparison.baseline_label}, paired by seed [95 % Student's t interval]"
        found.append(Sheet(title, (*keys, *columns), tuple(differences), len(keys)))
    if published and (rows := published_rows(comparison)):
        header = ("published", "data set", *PUBLISHED_COLUMNS)
        found.append(Sheet("Published figures, not measured here", header, rows, 2, True))
    return found


def best_rows(comparison: Comparison, column: str) -> list[int]:
    """The rows of the groups with the best mean as printed: several if they are equal; none if all are equal, if there is
    only one, or if it is not known which is better."""
    spreads = [group.spread(column) for group in comparison.groups]
    means = [None if spread is None else number_text(spread.mean, column=column) for spread in spreads]
    known = [float(mean) for mean in means if mean is not None]
    if not direction(column) or len(known) < 2 or len(set(known)) == 1:
        return []
    best = max(known) if direction(column) > 0 else min(known)
    return [row for row, mean in enumerate(means) if mean is not None and float(mean) == best]


def published_rows(comparison: Comparison) -> tuple[tuple[str, ...], ...]:
    """The published figures on the data set of the runs; empty if there are none."""
    return tuple(row for row in PUBLISHED if row[1] == comparison.dataset)


def notes(comparison: Comparison, *, published: bool = False) -> list[str]:
    """The notes on groups, then a line for each kind of smoke runs and search trials, then a line for each run that is left
    out, wholly or in part."""
    apart: dict[str, list[str]] = {}
    for run in comparison.problems:
        if run.is_apart:
            apart.setdefault(run.problem, []).append(str(run.folder))
    kinds = [
        f"{problem}: {', '.join(found[:MAX_NAMED])}{more_text(len(found))}"
        for problem, found in apart.items()
    ]
    left_out = [f"{run.folder}: {run.problem}" for run in comparison.problems if not run.is_apart]
    return [*group_notes(comparison, published=published), *map(printable, [*kinds, *left_out])]


def more_text(count: int) -> str:
    return f" and {count - MAX_NAMED} more" if count > MAX_NAMED else ""


def group_notes(comparison: Comparison, *, published: bool = False) -> list[str]:
    """Notes on groups that mix settings, on missing published figures, on runs with TENET that took no inhibited step, on
    overlaps with the benchmark, and on runs that were set aside."""
    mixed = comparison.mixed_keys
    lines = [f"runs within one group differ in {printable(', '.join(mixed))}"] if mixed else []
    if published and not published_rows(comparison):
        lines.append(printable(f"no published figures on {comparison.dataset} are known"))
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
    baseline = comparison.baseline_of(group)
    if baseline is None:
        return "no such group"
    for side in (group, baseline):
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
    about = [f"- {name}: {_markdown_text(text)}" for name, text in facts(comparison)]
    parts = [f"## {_markdown_text(title(comparison))}", "\n".join(about)]
    for sheet in sheets(comparison, published=published):
        rule = ["---" if index < sheet.labels else "---:" for index in range(len(sheet.header))]
        cells = [
            "| " + " | ".join(map(_markdown_text, row)) + " |" for row in (sheet.header, rule, *sheet.rows)
        ]
        parts.append("\n".join([f"**{_markdown_text(sheet.title)}**", "", *cells]))
    if lines := notes(comparison, published=published):
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
    """tabular environments for the booktabs package, with the best means in bold, and facts and notes as comments."""
    lines = [f"% {title(comparison)}", *(f"% {name}: {text}" for name, text in facts(comparison))]
    for sheet in sheets(comparison, published=published):
        layout = "l" * sheet.labels + "r" * (len(sheet.header) - sheet.labels)
        lines += [f"% {sheet.title}", f"\\begin{{tabular}}{{{layout}}}", "\\toprule"]
        lines += [_latex_row(sheet.header), "\\midrule"]
        for index, row in enumerate(sheet.rows):
            lines.append(_latex_row(row, best=[column for place, column in sheet.best if place == index]))
        lines += ["\\bottomrule", "\\end{tabular}", ""]
    return "\n".join([*lines, *(f"% {line}" for line in notes(comparison, published=published))]) + "\n"


def _latex_row(cells: Sequence[str], *, best: Sequence[int] = ()) -> str:
    """best: the columns whose figures are the best ones."""
    texts = [cell.translate(LATEX) for cell in cells]
    texts = [re.sub(r"(?<![\w.])-(?=\d)", "$-$", text) for text in texts]  # a minus sign, not a hyphen
    texts = [rf"\textbf{{{text}}}" if index in best else text for index, text in enumerate(texts)]
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
                paired = paired if comparison.baseline_of(group) else ("",) * 4
                rows.append((*group.values, column, *spread, *paired, *[""] * published))
    for name, dataset, *figures in published_rows(comparison) if published else ():
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
