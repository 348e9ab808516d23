"""A comparison as one HTML page that needs nothing else: no network, no files beside it.

Names, keys and values come from run folders, which may be others': every text is escaped.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from tenet.compare.curves import COLOURS, TRAINING, Point, curves_svg, mean_curve, read_curves
from tenet.compare.groups import Comparison, Group
from tenet.compare.heatmaps import MAX_SURFACES, find_surfaces, heatmap, mean_cells, surface_table
from tenet.compare.keys import NO_SUCH_KEY, natural, value_text, varying
from tenet.compare.look import SCRIPT, STYLE
from tenet.compare.pictures import xrays
from tenet.compare.runs import Run
from tenet.compare.text import Sheet, group_notes, labels, number_text, sheets
from tenet.corruptions.names import CORRUPTIONS, SEVERITIES
from tenet.errors import printable
from tenet.files.names import METRICS_FILE

MAX_DRAWN = len(COLOURS)  # groups in curves and heatmaps: with more, nobody can tell the lines apart
MAX_KEY_COLUMNS = 4  # groups with a column each in the table of keys: as many as fit


def page(
    comparison: Comparison,
    *,
    published: bool = False,
    link_from: Path,
    surfaces: Sequence[Sequence[str]] = (),
) -> str:
    """link_from: the folder the page will lie in, for relative links to the run folders.

    surfaces: pairs of keys to draw the figure of the order over; without, all that make a grid.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    drawn = _drawn(comparison)
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Comparison of runs</title>',
        f"<style>{STYLE}</style></head><body><h1>Comparison of runs</h1>{_summary(comparison)}",
        *(_table(sheet) for sheet in sheets(comparison, published=published)),
        _surfaces(comparison, surfaces),
        *(_corruptions(comparison, drawn, column) for column in comparison.columns),
        _training(comparison, drawn),
        xrays(_members(comparison)),
        _differing_keys(comparison),
        _runs(comparison, link_from),
        f"<script>{SCRIPT}</script></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _drawn(comparison: Comparison) -> list[Group]:
    first = list(comparison.groups[:MAX_DRAWN])
    return first if comparison.baseline in first else [*first[:-1], comparison.baseline]


def _summary(comparison: Comparison) -> str:
    told = [
        f"{sum(run.is_finished for run in comparison.runs)} finished runs in {len(comparison.groups)} groups"
    ]
    if problems := len(comparison.problems):
        are = "is" if problems == 1 else "are"
        told.append(f'{problems} {are} left out or not whole, see <a href="#runs">runs</a>')
    if len(comparison.groups) > MAX_DRAWN:
        told.append(f"curves and heatmaps show {MAX_DRAWN} groups, the first and the one compared with")
    notes = [escape(note) for note in group_notes(comparison)]
    return f"<p>{'; '.join([*told, *notes])}.</p>"


def _table(sheet: Sheet, *, first_cells: Sequence[str] = ()) -> str:
    """first_cells: HTML that stands in the first column in place of its texts."""
    kinds = ["" if index < sheet.labels else ' class="figure"' for index in range(len(sheet.header))]
    head = "".join(
        f'<th scope="col"{kind}><button type="button">{_breakable(text)}</button></th>'
        for kind, text in zip(kinds, sheet.header, strict=True)
    )
    rows = [[*map(escape, row[: sheet.labels]), *map(_whole, row[sheet.labels :])] for row in sheet.rows]
    for row, html in zip(rows, first_cells, strict=False):
        row[0] = html
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{cell}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>"
        for row in rows
    )
    look = "sortable published" if sheet.is_published else "sortable"
    title = escape(sheet.title)
    heading = f"<h3>{title}</h3>" if title else ""  # no caption: on a narrow screen it would scroll away
    return (
        f'{heading}<div class="scroll"><table class="{look}" aria-label="{title}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _whole(figure: str) -> str:
    """A figure in which lines may break before its interval and its pairs, and within a remark on these."""
    parts = re.split(r" (?=[\[(])", escape(figure))
    return " ".join(part if ": " in part else f"<span>{part}</span>" for part in parts)


def _breakable(name: str) -> str:
    """A name may be wrapped after its dots and underscores, and never before its unit."""
    return re.sub(r"([._])", r"\1<wbr>", escape(name)).replace(", %", ",&nbsp;%")


def _surfaces(comparison: Comparison, chosen: Sequence[Sequence[str]]) -> str:
    found = find_surfaces(comparison, chosen)
    if not found:
        return ""
    shown = found if chosen else found[:MAX_SURFACES]
    means = [spread.mean for surface in shown for spread in surface.cells.values()]
    column, low, high = comparison.sorted_by, min(means), max(means)
    tables = [surface_table(surface, column=column, low=low, high=high) for surface in shown]
    more = f" {len(found) - len(shown)} more are not shown; choose with --surface." * (shown != found)
    bounds = [number_text(value, column=column) for value in (low, high)]
    about = (
        f"{column}: mean ± sample deviation over seeds; from {bounds[0]} (faint) to {bounds[1]} (strong), "
        f"each table's lowest framed.{more}"
    )
    boxes = "".join(f'<div class="scroll surface">{table}</div>' for table in tables)
    return f'<h2>Parameter surfaces</h2><p>{escape(about)}</p><div class="row">{boxes}</div>'


def _corruptions(comparison: Comparison, drawn: Sequence[Group], column: str) -> str:
    tables = [mean_cells(group, column) for group in drawn]
    if not any(tables):
        return ""
    top = max(error for cells in tables for row in cells.values() for error in row.values())
    maps = [
        heatmap(cells, title=comparison.label(group), top=top)
        for group, cells in zip(drawn, tables, strict=True)
    ]
    by_severity = curves_svg(
        [_severity_curve(group, column) for group in drawn],
        title="mean over the 15 corruptions, %",
        along="severity",
        is_root=False,
    )
    about = "Error in % by corruption and severity, mean over seeds; faint rows are not part of the mCE."
    boxes = "".join(f'<div class="scroll">{table}</div>' for table in maps if table)
    return (
        f"<h2>{escape(column)}</h2><p>{about} Bars are one sample deviation over seeds either way.</p>"
        f'{_legend(comparison, drawn)}{by_severity}<div class="row">{boxes}</div>'
    )


def _severity_curve(group: Group, column: str) -> list[Point]:
    """The error over severity, of the runs that have all 15 corruptions."""
    seeds = []
    for run in group.runs:
        cells = [run.cells.get(column, {}).get(name, {}) for name in CORRUPTIONS]
        whole = [severity for severity in SEVERITIES if all(severity in by_severity for by_severity in cells)]
        seeds.append(
            {severity: sum(by_severity[severity] for by_severity in cells) / len(cells) for severity in whole}
        )
    return mean_curve([seed for seed in seeds if seed])


def _training(comparison: Comparison, drawn: Sequence[Group]) -> str:
    metrics = tuple(dict.fromkeys([*TRAINING, *comparison.metrics]))
    read = [[read_curves(run.folder / METRICS_FILE, metrics) for run in group.runs] for group in drawn]
    charts = [
        curves_svg(
            [mean_curve([curves[metric] for curves in seeds if metric in curves]) for seeds in read],
            title=metric,
        )
        for metric in metrics
    ]
    if not any(charts):
        return ""
    about = (
        "Mean over seeds, with one sample deviation either way: a band, or bars where there are few points. "
        "The vertical axes are square roots."
    )
    legend = _legend(comparison, drawn)
    return f'<h2>Training curves</h2><p>{about}</p>{legend}<div class="row">{"".join(charts)}</div>'


def _legend(comparison: Comparison, drawn: Sequence[Group]) -> str:
    names = "".join(
        f'<span><span class="swatch" style="background:{COLOURS[index]}"></span>{escape(comparison.label(group))}</span>'
        for index, group in enumerate(drawn)
    )
    return f'<div class="row legend">{names}</div>'


def _differing_keys(comparison: Comparison) -> str:
    """Every key with more than one value over all runs, also those that the groups are not told apart by."""
    texts = varying([run.config for run in _members(comparison)])
    texts.pop("seed", None)
    if not texts:
        return ""
    if len(comparison.groups) <= MAX_KEY_COLUMNS:
        header = ("key", *map(comparison.label, comparison.groups))
        rows = [(key, *(_values(group, key) for group in comparison.groups)) for key in sorted(texts)]
    else:
        header = ("key", "values, with the number of runs")
        rows = [(key, _counted(texts[key])) for key in sorted(texts)]
    sheet = Sheet("", header, tuple(rows), labels=len(header))
    return f"<h2>Differing configuration keys</h2>{_table(sheet)}"


def _counted(texts: Sequence[str]) -> str:
    counts = Counter(texts)
    return ", ".join(f"{text} ({counts[text]})" for text in sorted(counts, key=natural))


def _members(comparison: Comparison) -> list[Run]:
    return [run for group in comparison.groups for run in group.runs]


def _values(group: Group, key: str) -> str:
    return ", ".join(dict.fromkeys(value_text(run.config, key) for run in group.runs))


def _runs(comparison: Comparison, link_from: Path) -> str:
    """A row for each run, those that are left out too, with what is wrong about them."""
    values = {run.folder: labels(comparison, group) for group in comparison.groups for run in group.runs}
    keys, columns = comparison.keys or ("group",), comparison.columns
    rows = []
    for run in comparison.runs:
        figures = [
            number_text(run.figures[name], column=name) if name in run.figures else NO_SUCH_KEY
            for name in columns
        ]
        of_group = values.get(run.folder, [value_text(run.config, key) for key in keys])
        rows.append(
            (str(run.folder), *of_group, printable(run.problem), value_text(run.config, "seed"), *figures)
        )
    header = ("run", *keys, "note", "seed", *columns)
    sheet = Sheet("", header, tuple(rows), labels=len(keys) + 2)
    links = [_link(run, link_from) for run in comparison.runs]
    return f'<h2 id="runs">Runs</h2>{_table(sheet, first_cells=links)}'


def _link(run: Run, link_from: Path) -> str:
    # Quoted whole, the colon too: no folder's name can pass for a scheme.
    address = quote(os.fsencode(os.path.relpath(run.folder, link_from))) + "/"
    return f'<a href="{escape(address)}">{escape(printable(str(run.folder)))}</a>'
