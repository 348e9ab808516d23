"""The figures of an evaluation as files: JSON, CSV, and RobustBench's form."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenet.evaluation.report import RobustnessReport
from tenet.files.atomic import write_atomically
from tenet.files.json import write_json


def write_figures(
    report: RobustnessReport,
    output: Path,
    *,
    about: Mapping[str, Any],
    name: str,
    dataset: str,
    architecture: str,
) -> list[Path]:
    """Write the report as JSON to `output` and, beside it, as CSV and, if its mCE is CIFAR-C's, for RobustBench.

    about: what was evaluated, for the JSON. name, dataset, architecture: for RobustBench.
    """
    write_json(output, report.as_json(about))
    written = [output, output.with_suffix(".csv")]
    write_csv(report, written[1])
    if report.mce_pct is not None and not report.normalized:
        kind = "-generated" if report.source != "files" else ""
        written.append(output.with_name(f"robustbench{kind}.json"))
        write_json(
            written[-1], robustbench_info(report, name=name, dataset=dataset, architecture=architecture)
        )
    return written


def write_csv(report: RobustnessReport, path: Path) -> None:
    """A line for every cell."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["corruption", "severity", "error_pct", "images", "source"])
            for cell in report.cells:
                figures = cell.predictions
                row = [
                    cell.corruption,
                    cell.severity,
                    f"{figures.error_pct:.4f}",
                    len(figures.labels),
                    report.source,
                ]
                writer.writerow(row)

    write_atomically(path, write)


def robustbench_info(
    report: RobustnessReport, *, name: str, dataset: str, architecture: str
) -> dict[str, Any]:
    """RobustBench's model info for its corruptions threat model; what only the authors know is left empty.

    Accuracies are texts with two digits there. Its figures come from the official files: `footnote` says
    where these do not. Form: model_info/cifar10/corruptions in github.com/RobustBench/robustbench.
    """
    mce_pct = report.mce_pct
    info = {
        "link": "",
        "name": name,
        "authors": "",
        "additional_data": False,
        "number_forward_passes": 1,
        "dataset": dataset,
        "venue": "",
        "architecture": architecture,
        "eps": None,
        "clean_acc": f"{100 - report.clean.error_pct:.2f}",
        "reported": "",
        "corruptions_acc": "" if mce_pct is None else f"{100 - mce_pct:.2f}",
    }
    if report.source != "files":
        info["footnote"] = "Measured on generated corruptions, not on the official files."
    return info
