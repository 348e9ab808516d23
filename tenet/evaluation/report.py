"""The report of an evaluation: the summaries of its suites, put together, printed and written."""

import csv
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from rich.table import Table

from tenet.evaluation.plots import save_figure
from tenet.evaluation.reports import SECTIONS
from tenet.evaluation.suites.suite import RECORD, Summary
from tenet.files.atomic import write_atomically
from tenet.files.json import write_json
from tenet.printing import console

logger = logging.getLogger("tenet")


def combine(about: Mapping[str, Any], summaries: Sequence[Summary], *, notes: Sequence[str] = ()) -> Summary:
    """One summary of all suites, in their order.

    about: the first keys of the JSON report. notes: the first lines; empty ones are left out.
    """
    metrics = _merge(summary.metrics for summary in summaries)
    return Summary(
        content={**about, **_merge(summary.content for summary in summaries)},
        metrics=metrics,
        lines=[*filter(None, notes), *(line for summary in summaries for line in summary.lines)],
        tables=[*(table for summary in summaries for table in summary.tables), *_overview(metrics)],
        is_complete=all(summary.is_complete for summary in summaries),
        records=[record for summary in summaries for record in summary.records],
        documents=_merge(summary.documents for summary in summaries),
        pictures=_merge(summary.pictures for summary in summaries),
    )


def _overview(metrics: Mapping[str, Any]) -> list[Table]:
    """Clean images, corruptions and attacks in one table, if there are both an mCE and attacks."""
    attacks = [
        name.removesuffix("/error_pct")
        for name in metrics
        if re.match(r"attack/(?!random).*/error_pct", name)
    ]
    section = next((name for name in SECTIONS.values() if f"{name}/mce_pct" in metrics), None)
    if section is None or not attacks:
        return []
    table = Table(title="Clean images, corruptions and attacks, in %", title_justify="left")
    table.add_column("images", no_wrap=True)
    for heading in ("error", "accuracy", "RMS calibration error"):
        table.add_column(heading, justify="right")
    errors = {"test": "error_pct", section: "mce_pct", **dict.fromkeys(attacks, "error_pct")}
    shown = {
        "test": "clean",
        section: "15 corruptions (mCE)",
        "attack/none": "clean, those that were attacked",
    }
    for prefix, name in errors.items():
        error, calibration = metrics[f"{prefix}/{name}"], metrics.get(f"{prefix}/rms_calibration_error_pct")
        texts = [f"{error:.2f}", f"{100 - error:.2f}", "" if calibration is None else f"{calibration:.2f}"]
        table.add_row(shown.get(prefix, prefix), *texts)
    return [table]


def _merge(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


def print_report(report: Summary) -> None:
    """Tables first, then lines."""
    # soft_wrap: the terminal breaks long lines, not rich.
    plain = console(soft_wrap=True)
    for part in (*report.tables, *report.lines):
        plain.print(part)


def write_figures(report: Summary, output: Path) -> list[Path]:
    """Write the report as JSON to `output`; next to it a CSV file and the further JSON files of the suites.

    The CSV file has a line for each cell, errors with four digits. The report lists the further files as `documents`, so
    that they can be told from those of another report.
    """

    def write_csv(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            # Suites may add columns.
            writer = csv.DictWriter(
                file, list(dict.fromkeys([*RECORD, *chain.from_iterable(report.records)]))
            )
            writer.writeheader()
            for record in report.records:
                rounded = {name: f"{value:.4f}" for name, value in record.items() if isinstance(value, float)}
                writer.writerow({**record, **rounded})

    table = output.with_suffix(".csv")
    documents = {
        output.with_name(document_name(name, output)): content for name, content in report.documents.items()
    }
    write_json(output, {**report.content, "documents": [path.name for path in documents]})
    write_atomically(table, write_csv)
    for path, content in documents.items():
        write_json(path, content)
    return [output, table, *documents]


def document_name(name: str, output: Path) -> str:
    """`name`, with the marks that tell the report from the run's own: robustbench-generated-bf16.json."""
    marks = re.sub(r"^corruptions(-files)?", "", output.stem) if output.stem.startswith("corruptions") else ""
    stem, _, suffix = name.rpartition(".")
    return f"{stem}{marks}.{suffix}"


def write_pictures(report: Summary, output: Path) -> dict[str, Path]:
    """Draw the pictures of the suites next to `output`; return the PNG files by metric name.

    A picture that fails is named in a warning and left out: the figures are worth more than their pictures.
    """
    paths = {
        name: output.with_name(f"{output.stem}-{name.rpartition('/')[2]}.png") for name in report.pictures
    }
    written = {}
    for name, draw in report.pictures.items():
        try:
            written[name] = save_figure(draw(), paths[name])
        except Exception as error:  # matplotlib, its fonts and its settings fail in many ways
            with suppress(OSError):  # an earlier report's picture would show other figures
                paths[name].unlink(missing_ok=True)
            reason = (str(error).splitlines() or [""])[0]
            logger.warning("%s is left out (%s: %s)", paths[name], type(error).__name__, reason)
    return written
