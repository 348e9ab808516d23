"""A comparison as one HTML page that needs no network and no other file."""

import base64
import os
import re
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import fmean
from urllib.parse import quote

from tenet.compare.charts import COLOURS, SIGNS, line_chart, plane_chart
from tenet.compare.curves import TRAINING, Point, mean_curve, read_curves
from tenet.compare.differences import EXPLANATION, difference_chart
from tenet.compare.evaluations import MCE, ROBUST
from tenet.compare.facts import facts, title
from tenet.compare.groups import Comparison, Group
from tenet.compare.heatmaps import corruption_heatmaps, surface_heatmaps
from tenet.compare.keys import ABSENT, natural, value_text, varying
from tenet.compare.runs import Run
from tenet.compare.text import Sheet, group_notes, number_text, sheets
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from tenet.errors import printable
from tenet.files.names import EVALUATION_FOLDER, METRICS_FILE
from tenet.files.plain import read_bytes

TEMPLATE = Path(__file__).with_name("page.html")
MAX_KEY_COLUMNS = 4  # with more groups, the table of keys has one column for all of them
MAX_BYTES, MAX_TOTAL_BYTES = 2**20, 8 * 2**20  # of X-rays
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def page(
    comparison: Comparison,
    *,
    published: bool = False,
    link_from: Path,
    surfaces: Sequence[Sequence[str]] = (),
) -> str:
    """link_from: the folder of the page, for relative links to the run folders.

    surfaces: pairs of keys for the parameter surfaces; by default all that make a grid.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    drawn = comparison.drawn
    pictures, pictures_left_out = _xrays(comparison.members)
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters |= {
        "figure": lambda text: Markup(_figure(text)),
        "breakable": lambda text: Markup(_breakable(text)),
    }
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        comparison=comparison,
        left_out=len(comparison.problems),
        title=title(comparison),
        facts=facts(comparison),
        notes=group_notes(comparison, published=published),
        drawn=list(zip(drawn, COLOURS, SIGNS, strict=False)),
        extra=EXTRA_CORRUPTIONS,
        sheets=sheets(comparison, published=published),
        surfaces=surface_heatmaps(comparison, surfaces),
        corruptions=[
            (column, _severity_chart(drawn, column), difference_chart(comparison, drawn, column), maps)
            for column in comparison.columns
            if (maps := corruption_heatmaps(drawn, column))
        ],
        explanation=EXPLANATION,
        planes=_planes(drawn, comparison.columns),
        curves=_training_charts(comparison, drawn),
        pictures=pictures,
        pictures_left_out=pictures_left_out,
        keys=_differing_keys(comparison),
        runs=_runs(comparison),
        # The colon is quoted too, so that no folder's name is read as a URL's scheme.
        links=[quote(os.fsencode(os.path.relpath(run.folder, link_from))) + "/" for run in comparison.runs],
    )


def _figure(text: str) -> str:
    """HTML of a figure, in which a line may break only before its interval and its pairs."""
    parts = re.split(r" (?=[\[(])", escape(text))
    return " ".join(part if ": " in part else f"<span>{part}</span>" for part in parts)


def _breakable(name: str) -> str:
    """HTML of a name, in which a line may break before the parts of a key or a path and within very long words, but not
    before the unit or a number."""
    parts = re.sub(r"(?<=[._/=,-])(?=[^\W\d])", "<wbr>", escape(name))
    return re.sub(r"(\w{20})(?=\w)", r"\1<wbr>", parts).replace(", %", ",&nbsp;%")


def _planes(groups: Sequence[Group], columns: Sequence[str]) -> str:
    """Each robust accuracy over the first mCE."""
    mce = next((column for column in columns if column.startswith(MCE)), "")
    charts = []
    for column in (name for name in columns if name.startswith(ROBUST)):
        points = [(group.spread(mce), group.spread(column)) for group in groups]
        charts.append(plane_chart(points, title=column, across="mCE, %", up="robust accuracy, %"))
    return "".join(charts)


def _severity_chart(groups: Sequence[Group], column: str) -> str:
    curves = [_severity_curve(group, column) for group in groups]
    return line_chart(curves, title="mean over the 15 corruptions, %", along="severity", is_root=False)


def _severity_curve(group: Group, column: str) -> list[Point]:
    """The error over severity, from the runs that have all 15 corruptions."""
    seeds = []
    for run in group.runs:
        cells = [run.cells.get(column, {}).get(name, {}) for name in CORRUPTIONS]
        whole = [severity for severity in SEVERITIES if all(severity in errors for errors in cells)]
        seeds.append({severity: fmean(errors[severity] for errors in cells) for severity in whole})
    return mean_curve([seed for seed in seeds if seed])


def _training_charts(comparison: Comparison, groups: Sequence[Group]) -> str:
    metrics = tuple(dict.fromkeys([*TRAINING, *comparison.metrics]))
    read = [[read_curves(run.folder / METRICS_FILE, metrics) for run in group.runs] for group in groups]
    charts = []
    for metric in metrics:
        curves = [mean_curve([seed[metric] for seed in seeds if metric in seed]) for seeds in read]
        charts.append(line_chart(curves, title=metric))
    return "".join(charts)


def _differing_keys(comparison: Comparison) -> Sheet:
    """Every key with more than one value among all runs, also keys by which runs are not grouped."""
    if len(comparison.groups) <= MAX_KEY_COLUMNS:
        header = ("key", *(group.label for group in comparison.groups))
        columns = [group.runs for group in comparison.groups]
    else:
        header, columns = ("key", "values"), [tuple(comparison.members)]
    keys = sorted(varying([run.config for run in comparison.members]).keys() - {"seed"})
    rows = tuple((key, *(_value_counts(runs, key) for runs in columns)) for key in keys)
    return Sheet("", header, rows, labels=len(header))


def _value_counts(runs: Sequence[Run], key: str) -> str:
    counts = Counter(value_text(run.config, key) for run in runs)
    return ", ".join(f"{text} ({counts[text]})" for text in sorted(counts, key=natural))


def _runs(comparison: Comparison) -> Sheet:
    """One row for each run, with its problem; runs that are left out have one, too."""
    keys, columns = comparison.keys or ("group",), comparison.columns
    values = {
        run.folder: group.short_values or ("all runs",) for group in comparison.groups for run in group.runs
    }
    rows = []
    for run in comparison.runs:
        of_group = values.get(run.folder, [value_text(run.config, key) for key in keys])
        figures = (
            number_text(run.figures[name], column=name) if name in run.figures else ABSENT for name in columns
        )
        seed = value_text(run.config, "seed")
        rows.append((printable(str(run.folder)), *of_group, printable(run.problem), seed, *figures))
    return Sheet("", ("run", *keys, "note", "seed", *columns), tuple(rows), labels=len(keys) + 2)


def _xrays(runs: Sequence[Run]) -> tuple[list[tuple[str, str]], int]:
    """The pictures that `python -m tenet.xray` wrote into the run folders, within the size limits.

    Returns names and contents in base64, and the number of pictures that are left out.
    """
    shown: list[tuple[str, str]] = []
    left_out = size = 0
    for run in runs:
        for path in sorted((run.folder / EVALUATION_FOLDER).glob("xray*.png"), key=lambda path: path.stem):
            try:
                picture = read_bytes(path, limit_bytes=min(MAX_BYTES, MAX_TOTAL_BYTES - size))
            except (OSError, ValueError):
                picture = b""
            if picture.startswith(PNG_SIGNATURE):
                size += len(picture)
                name = printable(f"{run.folder.name}/{EVALUATION_FOLDER}/{path.name}")
                shown.append((name, base64.b64encode(picture).decode()))
            else:
                left_out += 1
    return shown, left_out
