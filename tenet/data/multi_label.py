"""Labels of images that may show several classes: int8 [image, class], 1 present, 0 absent, -1 not counted."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from tenet.errors import DatasetError

VALUES = (-1, 0, 1)
logger = logging.getLogger("tenet")


def as_multi_label(labels: np.ndarray, *, source: str, classes: Sequence[str] | None = None) -> np.ndarray:
    """int8 [N, class], from integers, booleans or whole floats. Raises DatasetError, which names `source`."""
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "iubf":
        raise DatasetError(
            f"{source}: multi-label labels must be integers of shape [N, classes], at least two classes, not "
            f"{labels.dtype} {list(labels.shape)}; leave out dataset.multi_label if each image has one class"
        )
    if classes is not None and labels.shape[1] != len(classes):
        raise DatasetError(
            f"{source}: labels have {labels.shape[1]} columns, but there are {len(classes)} classes"
        )
    if not np.isin(labels, VALUES).all():
        bad = labels[~np.isin(labels, VALUES)].flat[0]
        raise DatasetError(
            f"{source}: multi-label labels must be 1 (present), 0 (absent) or -1 (not counted), not {bad}"
        )
    if (labels == -1).sum() > (labels == 0).sum():
        # Pascal VOC's own lists have it the other way round.
        logger.warning(
            "%s: most labels are -1, which is `not counted` here; if it means `absent`, as in Pascal VOC's lists, "
            "turn it into 0 and their 0 into -1",
            source,
        )
    return labels.astype(np.int8)


def check_shown(labels: Mapping[str, np.ndarray], *, path: object) -> list[int]:
    """The classes that no training image shows. labels: of the training set and the test set, by split.

    Raises DatasetError for a class that test images show and training images don't, and if test images show none.
    """
    shown = {split: (part == 1).any(axis=0) for split, part in labels.items()}
    if not shown["test"].any():
        raise DatasetError(f"{path}: no test image shows any class: none of test_labels is 1")
    if (unknown := np.flatnonzero(shown["test"] & ~shown["train"])).size:
        raise DatasetError(
            f"{path}: column {unknown[0]} of test_labels has a 1, but that of train_labels has none"
        )
    return np.flatnonzero(~shown["train"]).tolist()
