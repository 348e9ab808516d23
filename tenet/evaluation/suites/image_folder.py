"""Other test images of the same classes, in a folder for each class: ImageNet-R, -A, -Sketch and -V2."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch
from jaxtyping import Int64
from torch import Tensor

from tenet.data import ImageSource
from tenet.data.crops import Crops
from tenet.data.folders import index_folder, list_classes
from tenet.data.images import Images
from tenet.data.source import ImageBatch, Subset
from tenet.errors import ConfigError, DatasetError, printable
from tenet.evaluation.measures import AnyPredictions, Measures, as_metrics, describe_images
from tenet.evaluation.suites.suite import Cell, Suite, Summary
from tenet.files.paths import user_path
from tenet.files.weights import checksum
from tenet.rules import at_least


class ImageFolder(Suite):
    """The images `path`/<class>/**/*.jpg.

    title: names the cell and its figures, such as imagenet-r. subset: the folders are some of the data set's classes, and
    the network chooses from them alone, as the authors of ImageNet-R and -A define it; the clean test images of these
    classes are measured in the same way. Otherwise the folders are all of the classes, by name or by number from 0 on.
    resize, crop: as in `dataset=folder`; the images must have the size of the test images, and are turned as those are.
    Raises DatasetError, in one line, for a folder of other classes.
    """

    def __init__(
        self,
        test: ImageSource,
        measures: Measures,
        title: str,
        path: str,
        subset: bool = False,
        resize: Annotated[int, at_least(1)] | None = 256,
        crop: Annotated[int, at_least(1)] | None = 224,
    ) -> None:
        if test.is_multi_label:
            raise ConfigError(
                f"suite.path={path}: its images have one label each, but those of the data set may have several"
            )
        self.name, self.measures = title, measures
        root = user_path(path, key="suite.path")
        found, known = list_classes(root), list(test.classes)
        columns = None
        if subset:
            if others := [name for name in found if name not in known]:
                raise DatasetError(
                    f"suite.path={path}: {len(others)} of its {len(found)} classes are not among the data set's "
                    f"{len(known)}, first {printable(others[0])}; {title} needs a network and a data set of all classes"
                )
            columns = tuple(column for column, name in enumerate(known) if name in set(found))
            names = [known[column] for column in columns]
            self.measures = replace(measures, classes=tuple(names))
        else:
            # Sorted as text, ImageNetV2's folders 0 to 999 would not be in the order of the classes.
            numbers = [str(number) for number in range(len(known))]
            names = numbers if set(found) == set(numbers) else known
        clean = test.source if isinstance(test, Subset) else test
        crops = Crops(resize, crop, upright=isinstance(clean, Images) and clean.crops.upright)
        images = Images(index_folder(root, classes=names), crops, workers=None)
        size, expected = images.image_size(), test.image_size()
        if size != expected:
            raise DatasetError(
                f"suite.path={path}: its images have {size[1]} x {size[0]} pixels, but the data set's have "
                f"{expected[1]} x {expected[0]}; set suite.resize and suite.crop"
            )
        self._cells = [Cell(title, images, columns=columns)]
        if columns is not None:
            chosen = OfClasses(test, columns)
            self._cells += [Cell(f"{title}-clean", chosen, columns=columns)] if len(chosen) else []

    def cells(self) -> Iterator[Cell]:
        return iter(self._cells)

    def measured(self) -> Mapping[str, Any]:
        return {cell.name: cell.source.content_fingerprint() for cell in self._cells}

    def summarize(self, predictions: Mapping[str, AnyPredictions]) -> Summary:
        cell, *clean = self._cells
        figures = {each.name: self.measures.figures_of(predictions[each.name]) for each in self._cells}
        classes = "" if cell.columns is None else f", choosing from its {len(cell.columns)} classes"
        lines = [f"{cell.name} {describe_images(figures[cell.name])}{classes}"]
        lines += [f"clean images of its classes {describe_images(figures[each.name])}" for each in clean]
        metrics: dict[str, float] = {}
        for name, each in figures.items():
            metrics |= as_metrics(f"test/{name}", each)
        return Summary(content={"other_test_sets": figures}, metrics=metrics, lines=lines)


class OfClasses(Subset):
    """The images of `source` of some of its classes, whose labels count through these."""

    def __init__(self, source: ImageSource, columns: Sequence[int]) -> None:
        self._label_of = torch.full((len(source.classes),), -1)
        self._label_of[list(columns)] = torch.arange(len(columns))
        super().__init__(source, (self._label_of[source.labels.cpu()] >= 0).nonzero().flatten())
        self.classes = tuple(source.classes[column] for column in columns)
        self.labels = self._label_of[self.labels.cpu()]

    def batches(self, ids: Any, *, epoch: int = 0) -> Iterator[ImageBatch]:
        for images, labels in super().batches(ids, epoch=epoch):
            yield ImageBatch(images, self._relabel(labels))

    def _relabel(self, labels: Int64[Tensor, " batch"]) -> Int64[Tensor, " batch"]:
        return self._label_of.to(labels.device)[labels]

    def fingerprint(self) -> str:
        return checksum([super().fingerprint(), self.classes])[:16]

    def content_fingerprint(self) -> str:
        return checksum([super().content_fingerprint(), self.classes])[:16]
