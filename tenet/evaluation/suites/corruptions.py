"""CIFAR-C, ImageNet-C and generated corruptions: the mean corruption error, and the error of every cell."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tenet.config.rules import did_you_mean
from tenet.corruptions.names import CORRUPTIONS, SEVERITIES
from tenet.data import ImageSource
from tenet.errors import ConfigError, printable
from tenet.evaluation.corruption_tables import KINDS, describe_part, make_tables
from tenet.evaluation.mce import ALEXNET_ERRORS, mean_corruption_error_pct, missing_corruptions
from tenet.evaluation.measures import AnyPredictions, Measures, as_metrics, describe
from tenet.evaluation.metrics import mean
from tenet.evaluation.plots import draw_curves, draw_heatmap
from tenet.evaluation.reports import SECTIONS
from tenet.evaluation.robustbench import Model, robustbench_info
from tenet.evaluation.sheet import draw_sheet
from tenet.evaluation.suites.suite import CLEAN, RECORD, Cell, Suite, Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@runtime_checkable
class CorruptedImages(Protocol):
    """Where the cells come from: official files, a tree, or the generator. kind: a key of KINDS."""

    @property
    def kind(self) -> str: ...
    @property
    def names(self) -> Sequence[str]: ...
    def cell(self, corruption: str, severity: int) -> ImageSource: ...
    def identity(self) -> dict[str, object]: ...


class Corruptions(Suite):
    """The chosen corruptions at the chosen severities.

    names: None for all that `images` offers. normalized: whether the mCE is relative to AlexNet's errors, as on
    ImageNet-C. origin: what the images come from, for the report: the folder, or the seed of the generator.
    source: what identifies them, by `describe_source`; by default their `identity`. clean: the images without corruption.
    Raises ConfigError for an unknown corruption, or without severities.
    """

    name = "corruptions"

    def __init__(
        self,
        images: CorruptedImages,
        *,
        names: Sequence[str] | None = None,
        severities: Sequence[int] = SEVERITIES,
        normalized: bool = False,
        origin: Mapping[str, Any],
        source: Mapping[str, Any] | None = None,
        clean: ImageSource | None = None,
        measures: Measures,
        model: Model,
    ) -> None:
        if not severities:
            raise ConfigError(
                "corruptions.severities=[]: name at least one; corruptions.names=[] measures clean images alone"
            )
        for name in names or ():
            if name not in images.names:
                hint = did_you_mean(name, images.names)
                raise ConfigError(
                    f"corruptions.names={name}: not there{hint}; there are {', '.join(images.names)}"
                )
        self.images, self.normalized, self.origin, self.source = images, normalized, origin, source
        self.measures, self.model, self.clean = measures, model, clean
        self.names = [name for name in images.names if names is None or name in names]
        self.severities = sorted(set(severities))
        is_whole = set(CORRUPTIONS) <= set(self.names) and self.severities == list(SEVERITIES)
        self.marks = [*self._source_marks(), *["part"] * (not is_whole)]

    def __len__(self) -> int:
        return len(self.names) * len(self.severities)

    def cells(self) -> Iterator[Cell]:
        for name in self.names:
            for severity in self.severities:
                yield Cell(cell_name(name, severity), self.images.cell(name, severity))

    def identity(self) -> Mapping[str, Any]:
        return self.images.identity()

    def measured(self) -> Mapping[str, Any]:
        source = self.images.identity() if self.source is None else self.source
        return {**source, "mce": mce_definition(normalized=self.normalized)}

    def cell_names(self) -> list[str]:
        return [cell_name(name, severity) for name in self.names for severity in self.severities]

    @property
    def section(self) -> str:
        """The first part of the names of metrics: official and generated images never share a name."""
        return SECTIONS[self.images.kind]

    def _source_marks(self) -> list[str]:
        """Of all but the generator with its default seed. An archive that was generated from other images is named."""
        if self.images.kind == "files":
            return ["files"]
        source = self.source or {}
        if "fingerprint" in source:
            return [f"{source['archive']}-{source['fingerprint'][:8]}"]
        return [f"seed{source['seed']}"] if source.get("seed") else []

    def summarize(self, predictions: Mapping[str, AnyPredictions]) -> Summary:
        cells = {
            name: {severity: predictions[cell_name(name, severity)] for severity in self.severities}
            for name in self.names
        }
        figures = CorruptionFigures(cells, normalized=self.normalized, measures=self.measures)
        source, clean_pct = self.images.kind, predictions[CLEAN].error_pct
        part = describe_part(len(predictions[CLEAN].labels), cells)
        documents = {}
        if figures.mce_pct is not None and not self.normalized and not part:
            is_official = source == "files"
            name = "robustbench.json" if is_official else "robustbench-generated.json"
            errors = {"clean_pct": clean_pct, "mce_pct": figures.mce_pct}
            documents[name] = robustbench_info(self.model, **errors, is_official=is_official)
        return Summary(
            content={"corruptions_from": self.origin, "source": source, self.section: figures.content()},
            metrics=figures.metrics(self.section),
            lines=[*figures.lines(), *part],
            tables=make_tables(figures.errors, title=f"{self.model.name}: top-1 error in %, {KINDS[source]}"),
            is_complete=figures.mce_pct is not None and not part,
            records=[
                dict(zip(RECORD, (name, severity, each.error_pct, len(each.labels), source), strict=True))
                for name, by_severity in cells.items()
                for severity, each in by_severity.items()
            ],
            documents=documents,
            pictures=self._pictures(figures, clean_pct) if cells else {},
        )

    def _pictures(self, figures: "CorruptionFigures", clean_pct: float) -> dict[str, Callable[[], "Figure"]]:
        mce = "" if figures.mce_pct is None else f", mCE {figures.mce_pct:.2f} %"
        figure = f"clean error {clean_pct:.2f} %{mce} ({KINDS[self.images.kind]})"
        model = self.model
        about = [f"{model.name} on {model.dataset}", model.method or model.architecture, figure]
        title = "\n".join(map(printable, about))
        return {
            f"{self.section}/heatmap": lambda: draw_heatmap(figures.errors, title=title),
            f"{self.section}/curves": lambda: draw_curves(figures.errors, clean_pct=clean_pct, title=title),
            f"{self.section}/sheet": self._draw_sheet,
        }

    def _draw_sheet(self) -> "Figure":
        sources = {
            name: {each: self.images.cell(name, each) for each in self.severities} for name in self.names
        }
        return draw_sheet(sources, clean=self.clean)


def mce_definition(*, normalized: bool) -> str:
    return "mean over 15 corruptions" + " of the error relative to AlexNet's" * normalized


def cell_name(corruption: str, severity: int) -> str:
    return f"corruption/{corruption}/{severity}"


class CorruptionFigures:
    """All figures of the corruptions, from the predictions by corruption and severity.

    errors: in percent, by corruption and severity. means: over the cells of the 15 corruptions, of the figures that
    the measures ask for. mce_pct, mce_interval_pct: None unless all 15 were measured at all five severities.
    """

    def __init__(
        self,
        cells: Mapping[str, Mapping[int, AnyPredictions]],
        *,
        normalized: bool = False,
        measures: Measures,
    ) -> None:
        self.cells, self.measures = cells, measures
        self.errors = {
            name: {severity: each.error_pct for severity, each in by_severity.items()}
            for name, by_severity in cells.items()
        }
        self.mean_errors = {name: mean(list(errors.values())) for name, errors in self.errors.items()}
        in_mean = [(name, each) for name in cells if name in CORRUPTIONS for each in cells[name].values()]
        sets = [each for _, each in in_mean]
        self.means = measures.means_of(sets)
        self.mce_pct = mean_corruption_error_pct(self.errors, relative_to_alexnet=normalized)
        self.mce_definition = mce_definition(normalized=normalized)
        weights = [100 / ALEXNET_ERRORS[name] for name, _ in in_mean] if normalized else None
        self.mce_interval_pct = None if self.mce_pct is None else measures.interval_pct(sets, weights=weights)

    def content(self) -> dict[str, Any]:
        """For the section of the JSON report."""
        sizes = [len(each.labels) for by_severity in self.cells.values() for each in by_severity.values()]
        content: dict[str, Any] = {
            "mce_pct": self.mce_pct,
            "mce_definition": self.mce_definition,
            "corruptions": {
                name: {str(severity): error for severity, error in by_severity.items()}
                for name, by_severity in self.errors.items()
            },
            "corruption_means": {
                name: {
                    "error_pct": self.mean_errors[name],
                    "interval_pct": self.measures.interval_pct(list(by_severity.values())),
                }
                for name, by_severity in self.cells.items()
            },
            "corrupted": self.means,
            "images_per_cell": min(sizes, default=0),
        }
        return content if self.mce_pct is None else {**content, "mce_interval_pct": self.mce_interval_pct}

    def metrics(self, section: str) -> dict[str, float]:
        """By metric name, such as corruption/fog/3/error_pct in the section `corruption`."""
        metrics = as_metrics(section, {"mce_pct": self.mce_pct, **self.means})
        for name, by_severity in self.errors.items():
            metrics[f"{section}/{name}/error_pct"] = self.mean_errors[name]
            for severity, error in by_severity.items():
                metrics[f"{section}/{name}/{severity}/error_pct"] = error
        return metrics

    def lines(self) -> list[str]:
        """The mCE, or why there is none, in a sentence."""
        if self.mce_pct is not None:
            figures = {"error_pct": self.mce_pct, "interval_pct": self.mce_interval_pct, **self.means}
            return ["mCE " + describe(figures, f", {self.mce_definition}")]
        if not self.cells:
            return []
        complete = len(CORRUPTIONS) - len(missing_corruptions(self.errors))
        return [f"no mCE: {complete} of 15 corruptions were measured at all five severities"]
