"""`dataset=arrays` with labels of several classes an image."""

import logging

import numpy as np
import pytest
import torch

from tenet.data import Arrays
from tenet.errors import DatasetError
from tests.multi_label import CLASSES, arrays, write_npz


def load(path, **settings):
    return Arrays(path=str(path), multi_label=True, **settings).load()


def test_labels_are_a_row_of_present_absent_and_not_counted(tmp_path):
    splits = load(write_npz(tmp_path / "d.npz"))
    assert splits.classes == CLASSES
    assert splits.test.labels.dtype == torch.int8
    assert np.array_equal(splits.test.labels.numpy(), arrays(40, seed=1)["labels"])
    assert splits.train.is_multi_label
    assert splits.train.images_by_class() == (arrays(96, seed=0)["labels"] == 1).sum(axis=0).tolist()


def test_parts_are_drawn_at_random_by_the_seed_and_a_message_says_so(tmp_path, caplog):
    path = write_npz(tmp_path / "d.npz")
    with caplog.at_level(logging.INFO, logger="tenet"):
        splits = load(path, validation_fraction=0.25, fraction=0.5)
    assert (
        "72 of 96 training images are drawn at random: images with several labels have no strata"
        in caplog.text
    )
    assert [len(part) for part in splits] == [36, 24, 40]
    again, other = load(path, fraction=0.5), load(path, fraction=0.5, split_seed=1)
    assert torch.equal(again.train.labels, load(path, fraction=0.5).train.labels)
    assert not torch.equal(again.train.images, other.train.images)
    with pytest.raises(DatasetError, match="a part is empty"):
        load(path, fraction=0.001)


LABELS = arrays(96, seed=0)["labels"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            LABELS.argmax(axis=1),
            r"must be integers of shape \[N, classes\], .* leave out dataset.multi_label",
        ),
        (
            np.where(LABELS == -1, 2, LABELS),
            r"must be 1 \(present\), 0 \(absent\) or -1 \(not counted\), not 2",
        ),
        (LABELS[:, :2], "labels have 2 columns, but there are 3 classes"),
        (
            np.where([True, True, False], LABELS, 0),
            "column 2 of test_labels has a 1, but that of train_labels has none",
        ),
    ],
)
def test_other_labels_are_refused(tmp_path, labels, message):
    with pytest.raises(DatasetError, match=message):
        load(write_npz(tmp_path / "d.npz", train_labels=labels))


def test_the_convention_of_pascal_vocs_lists_is_noticed(tmp_path, caplog):
    flags = np.where(LABELS == 1, 1, np.where(LABELS == 0, -1, 0)).astype(np.int8)
    load(write_npz(tmp_path / "d.npz", train_labels=flags))
    assert (
        "most labels are -1, which is `not counted` here; if it means `absent`, as in Pascal VOC's"
        in caplog.text
    )


def test_without_multi_label_such_labels_are_refused_with_the_remedy(tmp_path):
    with pytest.raises(DatasetError, match=r"or give dataset.multi_label=true"):
        Arrays(path=str(write_npz(tmp_path / "d.npz"))).load()
