"""CIFAR-10-C-bar and ImageNet-C-bar: corruptions that were chosen to be unlike the benchmark's 15."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from tenet.corruptions.archive import open_archive
from tenet.corruptions.generator import GeneratedCorruptions
from tenet.corruptions.names import BAR_CORRUPTIONS, CIFAR_BAR, SEVERITIES, bar_names
from tenet.corruptions.parameters import LEAST_BAR_SIZE
from tenet.corruptions.source import describe_source
from tenet.data import ImageSource
from tenet.errors import ConfigError, DatasetError
from tenet.evaluation.corruption_tables import KINDS, describe_part, make_tables
from tenet.evaluation.measures import AnyPredictions, Measures, as_metrics, describe
from tenet.evaluation.metrics import mean
from tenet.evaluation.suites.suite import CLEAN, RECORD, Cell, Suite, Summary
from tenet.rules import at_least, at_most

# As RECORD, but apart from the corruptions of the mCE.
COLUMNS = ("c_bar", *RECORD[1:])


class CBar(Suite):
    """The ten corruptions of the C-bar benchmark for the size of the images, at five severities.

    root: a folder of `<corruption>.npy` and `labels.npy`, or a tree `<corruption>/<severity>/<class>/`; None: generated
    with `seed`. names, severities: which to measure; without names, all that are there. The mean is the plain one over the
    benchmark's 50 cells; with fewer there is none.
    Source: Mintun, Kirillov and Xie 2021 (arXiv 2102.11273).
    """

    name = "c_bar"

    def __init__(
        self,
        test: ImageSource,
        measures: Measures,
        root: str | None = None,
        seed: Annotated[int, at_least(0), at_most(2**63 - 1)] = 0,
        names: Sequence[str] | None = None,
        severities: Sequence[Annotated[int, at_least(1), at_most(5)]] = SEVERITIES,
    ) -> None:
        self.test, self.measures, self.root, self.seed = test, measures, root, seed
        size = min(test.image_size())
        self.benchmark = bar_names(size)
        self.title = "CIFAR-10-C-bar" if self.benchmark == CIFAR_BAR else "ImageNet-C-bar"
        if root is None:
            if size < LEAST_BAR_SIZE:
                raise DatasetError(
                    f"suite=c_bar needs images of at least {LEAST_BAR_SIZE} pixels; the data set's have {size}"
                )
            self.images: Any = GeneratedCorruptions(test, seed, self.benchmark)
        elif test.is_multi_label:
            raise ConfigError(
                f"suite.root={root}: its images have one label each, but those of the data set may have several; leave "
                "it out"
            )
        else:
            self.images = open_archive(root, test=test, names=BAR_CORRUPTIONS, key="suite.root")
        for name in names or ():
            if name not in self.images.names:
                raise ValueError(f"names={name}: not there; there are {', '.join(self.images.names)}")
        self.names = [name for name in self.images.names if names is None or name in names]
        self.severities = sorted(set(severities))

    def cells(self) -> Iterator[Cell]:
        for name in self.names:
            for severity in self.severities:
                yield Cell(f"c_bar/{name}/{severity}", self.images.cell(name, severity))

    def __len__(self) -> int:
        return len(self.names) * len(self.severities)

    def identity(self) -> Mapping[str, Any]:
        return self.images.identity()

    def measured(self) -> Mapping[str, Any]:
        return describe_source(self.images, test=self.test) or self.identity()

    def cell_names(self) -> list[str]:
        return [f"c_bar/{name}/{severity}" for name in self.names for severity in self.severities]

    def summarize(self, predictions: Mapping[str, AnyPredictions]) -> Summary:
        cells = {
            name: {level: predictions[f"c_bar/{name}/{level}"] for level in self.severities}
            for name in self.names
        }
        errors = {name: {level: each.error_pct for level, each in row.items()} for name, row in cells.items()}
        sets = [each for name in cells if name in self.benchmark for each in cells[name].values()]
        figures, kind = self._means(sets), self.images.kind
        # Official files and generated images never share the name of a metric.
        prefix = "c_bar" if kind == "files" else "c_bar_generated"
        metrics = as_metrics(prefix, figures)
        for name, row in errors.items():
            metrics |= {f"{prefix}/{name}/{level}/error_pct": error for level, error in row.items()}
        line = f"no mean of {self.title}: {len(sets)} of its 50 cells were measured"
        if figures:
            line = f"{self.title} " + describe(figures, ", mean over 10 corruptions and 5 severities")
        part = describe_part(len(predictions[CLEAN].labels), cells)
        return Summary(
            content={
                self.name: {
                    "benchmark": self.title,
                    "source": kind,
                    **({"root": self.root} if self.root else {"seed": self.seed}),
                    **figures,
                    "corruptions": {
                        name: {str(level): error for level, error in row.items()}
                        for name, row in errors.items()
                    },
                }
            },
            metrics=metrics,
            lines=[line, *part],
            tables=make_tables(
                errors, title=f"{self.title}: top-1 error in %, {KINDS[kind]}", benchmark=self.benchmark
            ),
            is_complete=bool(figures) and not part,
            records=[
                dict(zip(COLUMNS, (name, level, each.error_pct, len(each.labels), kind), strict=True))
                for name, row in cells.items()
                for level, each in row.items()
            ],
        )

    def _means(self, sets: Sequence[AnyPredictions]) -> dict[str, Any]:
        """The figures over all cells of the benchmark; none if some are missing."""
        if len(sets) < len(self.benchmark) * len(SEVERITIES):
            return {}
        error = mean([each.error_pct for each in sets])
        interval = self.measures.interval_pct(sets)
        return {"error_pct": error, "interval_pct": interval, **self.measures.means_of(sets)}
