"""Reports of images that may show several classes: the mean average precision next to the error of the labels."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.table import Table

from tenet.errors import printable
from tenet.evaluation.corruption_tables import KINDS, make_tables
from tenet.evaluation.measures import AnyPredictions, describe_map
from tenet.evaluation.metrics import mean
from tenet.evaluation.plots import draw_heatmap
from tenet.evaluation.suites.clean import Clean
from tenet.evaluation.suites.corruptions import Corruptions, cell_name
from tenet.evaluation.suites.suite import Summary

MAP = "map_pct"


class MultiLabelClean(Clean):
    """As `Clean`, with a table of the average precision."""

    def summarize(self, predictions: Mapping[str, AnyPredictions]) -> Summary:
        summary = super().summarize(predictions)
        return replace(summary, tables=[make_map_table(summary.content[self.name])])


class MultiLabelCorruptions(Corruptions):
    """As `Corruptions`, with the mean average precision of every cell (all points), and its mean over the cells.

    Over the 15 corruptions and five severities, that mean is the mean performance under corruption (mPC).
    Source: Michaelis et al. 2019 (arXiv 1907.07484).
    """

    def summarize(self, predictions: Mapping[str, AnyPredictions]) -> Summary:
        summary = super().summarize(predictions)
        cells = {
            name: {severity: self._map_pct(predictions, name, severity) for severity in self.severities}
            for name in self.names
        }
        if not cells:
            return summary
        means = {name: mean(list(by_severity.values())) for name, by_severity in cells.items()}
        metrics = {f"{self.section}/{name}/{MAP}": value for name, value in means.items()}
        for name, by_severity in cells.items():
            metrics |= {
                f"{self.section}/{name}/{severity}/{MAP}": value for severity, value in by_severity.items()
            }
        under = {
            name: {str(severity): value for severity, value in cell.items()} for name, cell in cells.items()
        }
        figures = summary.content[self.section]
        corrupted = figures["corrupted"]
        title = f"{self.model.name}: mAP in %, {KINDS[self.images.kind]}"
        return replace(
            summary,
            content={**summary.content, self.section: {**figures, "map_under_corruption_pct": under}},
            metrics={**summary.metrics, **metrics},
            lines=[*([f"under corruption {describe_map(corrupted)}"] if corrupted else []), *summary.lines],
            tables=make_tables(cells, title=title),
            records=[{**row, MAP: cells[row["corruption"]][row["severity"]]} for row in summary.records],
            documents={},  # RobustBench knows no multi-label images
            pictures={
                f"{self.section}/heatmap": lambda: draw_heatmap(cells, title=title, quantity="mAP, %"),
                f"{self.section}/sheet": summary.pictures[f"{self.section}/sheet"],
            },
        )

    def _map_pct(self, predictions: Mapping[str, AnyPredictions], name: str, severity: int) -> float:
        return predictions[cell_name(name, severity)].figures(likelihood=False, calibration=False)[MAP]


def make_map_table(figures: Mapping[str, Any]) -> Table:
    """The average precision in percent: of each class, if the figures hold them, and the mean."""
    table = Table(title="average precision in %", title_justify="left")
    table.add_column("class")
    for heading in ("all points", "11 points"):
        table.add_column(heading, justify="right")
    eleven = figures.get("ap_11point_pct_by_class", {})
    for name, value in figures.get("ap_pct_by_class", {}).items():
        row = (value, eleven[name])
        table.add_row(printable(name), *("-" if each is None else f"{each:.2f}" for each in row))
    table.add_section()
    table.add_row("mean", f"{figures[MAP]:.2f}", f"{figures['map_11point_pct']:.2f}", style="bold")
    return table
