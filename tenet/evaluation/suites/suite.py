"""What every benchmark offers: named cells of images to predict, and a summary of their predictions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table

from tenet.data import ImageSource
from tenet.evaluation.measures import AnyPredictions, Measures, as_metrics, describe_images
from tenet.evaluation.reports import CLEAN as CLEAN
from tenet.files.json import Scalars
from tenet.methods.attacks import Attack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECORD = ("corruption", "severity", "error_pct", "images", "source")
"""The columns of the CSV file."""


class Cell(NamedTuple):
    """Images that are predicted together. name: a path such as corruption/fog/3, unique in an evaluation.

    attack: makes the images worse for the network before they are predicted (see `predict_attacked`).
    columns: of the data set's classes, those that the network chooses from, by number; None: all. The labels of the
    source count through them.
    """

    name: str
    source: ImageSource
    attack: Attack | None = None
    columns: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The findings of a suite.

    content: its keys of the JSON report. metrics: by metric name. lines, tables: for the terminal.
    is_complete: False if only a part of the benchmark was measured: it stays out of the run's summary.
    records: a row for each cell with the keys RECORD, for the CSV file and the table in W&B.
    documents: further JSON files, by file name.
    pictures: functions that draw, by metric name; they are called after the figures are written.
    """

    content: Mapping[str, Any]
    metrics: Scalars
    lines: Sequence[str] = ()
    tables: Sequence[Table] = ()
    is_complete: bool = True
    records: Sequence[Mapping[str, Any]] = ()
    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pictures: Mapping[str, Callable[[], "Figure"]] = field(default_factory=dict)


class Suite(ABC):
    """A benchmark. Constructing one checks its files and settings, and reads no images.

    The suite of an option `suite=` is constructed with the clean test images and the measures that were asked for,
    `(test, measures)`, and with the option's keys.
    marks: what distinguishes this measurement in the name of the report's file.
    """

    name: str
    measures: Measures
    marks: Sequence[str] = ()

    @abstractmethod
    def cells(self) -> Iterator[Cell]:
        """The cells, in order; a source is opened when its turn comes."""

    def __len__(self) -> int:
        """The number of cells; a suite whose sources take long to open overrides it."""
        return sum(1 for _ in self.cells())

    def summarize(self, predictions: Mapping[str, AnyPredictions]) -> Summary:
        """The figures of each cell by itself. predictions: by cell name, of the cells of all suites."""
        figures = {name: self.measures.figures_of(predictions[name]) for name in self.cell_names()}
        metrics = {
            k: value for name in figures for k, value in as_metrics(f"test/{name}", figures[name]).items()
        }
        lines = [f"{name} {describe_images(figures[name])}" for name in figures]
        return Summary(content={self.name: figures}, metrics=metrics, lines=lines)

    def identity(self) -> Mapping[str, Any]:
        """Plain values that change when the images of the suite do; cached predictions are valid for one identity."""
        return {cell.name: cell.source.fingerprint() for cell in self.cells()}

    def measured(self) -> Mapping[str, Any]:
        """Plain values that identify the images in the report: as far as possible by content, wherever the files lie."""
        return self.identity()

    def cell_names(self) -> list[str]:
        return [cell.name for cell in self.cells()]

    def describe(self, cell_name: str, predictions: AnyPredictions) -> str:
        """One cell in a few words, for the progress line."""
        return f"{cell_name}: error {predictions.error_pct:.2f} %"
