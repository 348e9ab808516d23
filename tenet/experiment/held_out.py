"""What training measures on images that it does not train on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tenet.data import ImageSource, Splits
from tenet.evaluation.classifier import Classifier
from tenet.evaluation.measures import as_metrics
from tenet.evaluation.metrics import mean
from tenet.run.progress import ProgressReport


@dataclass(frozen=True)
class HeldOut:
    """The evaluations of a training run: on the validation images if there are any, otherwise on the test images.

    classifiers: what is measured, by the ending of its name in metrics: the network, and `_ema`, its average.
    images: how many of the images an evaluation before the last one measures; None: all of them.
    corrupted: by corruption, validation images at each severity, which every evaluation of training measures too.
    """

    splits: Splits
    classifiers: Mapping[str, Classifier]
    images: int | None = None
    corrupted: Mapping[str, Sequence[ImageSource]] = field(default_factory=dict)

    @property
    def split(self) -> str:
        return "test" if self.splits.validation is None else "validation"

    @property
    def _source(self) -> ImageSource:
        return getattr(self.splits, self.split)

    @property
    def _images_during_training(self) -> int:
        return min(len(self._source), self.images or len(self._source))

    @property
    def corrupted_images(self) -> int:
        """How many corrupted images an evaluation of training predicts."""
        return sum(len(cell) for cells in self.corrupted.values() for cell in cells)

    def count_predictions(self) -> tuple[int, int]:
        """How many predictions an evaluation during training makes, and those at the end."""
        during = self._images_during_training + self.corrupted_images
        at_end = len(self._source) + self.corrupted_images
        at_end += 0 if self.split == "test" else len(self.splits.test)
        return during * len(self.classifiers), at_end * len(self.classifiers)

    def evaluate_during_training(self, *, is_last: bool) -> dict[str, float]:
        """The figures of `images` of the images, evenly spaced, or of all if `is_last`, and those of corrupted images.

        Figures of fewer than all have names of their own, such as `test_subset/error_pct`.
        """
        images, whole = self._images_during_training, len(self._source)
        if is_last or images == whole:
            return self.evaluate() | self.evaluate_corrupted()
        subset = torch.arange(images) * whole // images
        return self.evaluate(ids=subset, ending="_subset") | self.evaluate_corrupted()

    def evaluate_corrupted(self) -> dict[str, float]:
        """The plain mean of the error over the corruptions and severities, `validation/corrupted_error_pct`, and that of
        each corruption, such as `validation/spatter/error_pct`; empty without corruptions.

        Not an mCE: the corruptions are others, and a part of the training set is measured.
        """
        metrics: dict[str, float] = {}
        total = sum(map(len, self.corrupted.values())) * len(self.classifiers)
        with ProgressReport("corrupted validation images", total=total, unit="cell") as progress:
            done = 0
            for kind, classifier in self.classifiers.items() if self.corrupted else ():
                prefix, means = f"validation{kind}", []
                for name, cells in self.corrupted.items():
                    means.append(mean([classifier.predict(cell).error_pct for cell in cells]))
                    metrics[f"{prefix}/{name}/error_pct"] = means[-1]
                    progress.update(done := done + len(cells), name)
                metrics[f"{prefix}/corrupted_error_pct"] = mean(means)
        return metrics

    def evaluate(
        self, split: str | None = None, ids: Tensor | None = None, *, ending: str = ""
    ) -> dict[str, float]:
        """The error on one of the splits, or on its images `ids`, by metric name, such as `test/error_pct`; that of the
        averaged weights is `test_ema/error_pct`. Of multi-label images also `test/map_pct` and `test/map_11point_pct`.

        split: None: the one that training evaluates on. ending: of the name.
        """
        split = split or self.split
        metrics: dict[str, float] = {}
        for kind, classifier in self.classifiers.items():
            name = f"{split}{kind}{ending}"
            classifier.process_group.share_buffers(classifier.network)
            predictions = classifier.predict(getattr(self.splits, split), ids, title=f"{name} images")
            metrics |= as_metrics(name, predictions.training_figures())
        return metrics
