"""The report of an evaluation: the summaries of its suites, put together, printed and written."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tenet.evaluation.plots import save_figure
from tenet.evaluation.suites.suite import RECORD, Summary
from tenet.files.atomic import write_atomically
from tenet.files.json import write_json


def combine(about: Mapping[str, Any], summaries: Sequence[Summary]) -> Summary:
    """One summary of all suites, in their order. about: the first keys of the JSON report."""
    return Summary(
        content={**about, **_merge(summary.content for summary in summaries)},
        metrics=_merge(summary.metrics for summary in summaries),
        lines=[line for summary in summaries for line in summary.lines],
        tables=[table for summary in summaries for table in summary.tables],
        is_complete=all(summary.is_complete for summary in summaries),
        records=[record for summary in summaries for record in summary.records],
        documents=_merge(summary.documents for summary in summaries),
        pictures=_merge(summary.pictures for summary in summaries),
    )


def _merge(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


def print_report(report: Summary) -> None:
    """Tables first, then lines."""
    # soft_wrap: the terminal breaks long lines, not rich.
    console = Console(soft_wrap=True)
    for part in (*report.tables, *report.lines):
        console.print(part)


def write_figures(report: Summary, output: Path) -> list[Path]:
    """Write the report as JSON to `output`; next to it a CSV file and the further JSON files of the suites.

    The CSV file has a line for each cell, errors with four digits.
    """

    def write_csv(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, RECORD)
            writer.writeheader()
            for record in report.records:
                writer.writerow({**record, "error_pct": f"{record['error_pct']:.4f}"})

    table = output.with_suffix(".csv")
    write_json(output, report.content)
    write_atomically(table, write_csv)
    documents = {output.with_name(name): content for name, content in report.documents.items()}
    for path, content in documents.items():
        write_json(path, content)
    return [output, table, *documents]


def write_pictures(report: Summary, output: Path) -> dict[str, Path]:
    """Draw the pictures of the suites next to `output`; return the PNG files by metric name."""
    paths = {
        name: output.with_name(f"{output.stem}-{name.rpartition('/')[2]}.png") for name in report.pictures
    }
    return {name: save_figure(draw(), paths[name]) for name, draw in report.pictures.items()}
