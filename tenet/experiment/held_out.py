"""What training measures on images that it does not train on."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tenet.data import ImageSource, Splits
from tenet.evaluation.classifier import Classifier
from tenet.evaluation.measures import as_metrics


@dataclass(frozen=True)
class HeldOut:
    """The evaluations of a training run: on the validation images if there are any, otherwise on the test images.

    classifiers: what is measured, by the ending of its name in metrics: the network, and `_ema`, its average.
    images: how many of the images an evaluation before the last one measures; None: all of them.
    """

    splits: Splits
    classifiers: Mapping[str, Classifier]
    images: int | None = None

    @property
    def split(self) -> str:
        return "test" if self.splits.validation is None else "validation"

    @property
    def _source(self) -> ImageSource:
        return getattr(self.splits, self.split)

    @property
    def _images_during_training(self) -> int:
        return min(len(self._source), self.images or len(self._source))

    def count_predictions(self) -> tuple[int, int]:
        """How many predictions an evaluation during training makes, and those at the end."""
        at_end = len(self._source) + (0 if self.split == "test" else len(self.splits.test))
        return self._images_during_training * len(self.classifiers), at_end * len(self.classifiers)

    def evaluate_during_training(self) -> dict[str, float]:
        """The figures of `images` of the images, evenly spaced. Those of fewer than all have names of their own, such as
        `test_subset/error_pct`."""
        images, whole = self._images_during_training, len(self._source)
        if images == whole:
            return self.evaluate()
        return self.evaluate(ids=torch.arange(images) * whole // images, ending="_subset")

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
