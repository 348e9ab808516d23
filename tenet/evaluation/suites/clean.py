"""The data set's own test images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tenet.data import ImageSource
from tenet.evaluation.measures import AnyPredictions, Measures, as_metrics, describe_images
from tenet.evaluation.suites.suite import CLEAN, Cell, Suite, Summary


@dataclass(frozen=True)
class Clean(Suite):
    test: ImageSource
    measures: Measures
    name = CLEAN

    def cells(self) -> Iterator[Cell]:
        yield Cell(CLEAN, self.test)

    def measured(self) -> Mapping[str, Any]:
        return {"images": len(self.test), "fingerprint": self.test.content_fingerprint()}

    def summarize(self, predictions: Mapping[str, AnyPredictions]) -> Summary:
        figures = self.measures.figures_of(predictions[CLEAN])
        lines = [f"clean {describe_images(figures)}"]
        return Summary(content={"clean": figures}, metrics=as_metrics("test", figures), lines=lines)
