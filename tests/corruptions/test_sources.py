"""Archives that don't fit the data set are refused, not measured."""

import numpy as np
import pytest
import torch

from tenet.corruptions.sources import ArchivedCorruptions
from tenet.errors import DatasetError

CLASSES = ("a", "b", "c")


def write(folder, *, labels=(0, 1, 2, 2), size=(8, 8)):
    np.save(folder / "labels.npy", np.tile(np.array(labels), 5))
    images = np.random.default_rng(0).integers(256, size=(5 * len(labels), *size, 3), dtype=np.uint8)
    np.save(folder / "fog.npy", images)
    return images


def clean(labels=(0, 1, 2, 2), size=(8, 8)):
    return torch.zeros(len(labels), *size, 3, dtype=torch.uint8), torch.tensor(labels)


def test_cells_come_in_batches_with_their_labels(tmp_path):
    images = write(tmp_path)
    source = ArchivedCorruptions(tmp_path, classes=CLASSES, clean=clean(labels=(2, 1, 0, 2)))
    batches = list(source.batches("fog", 3, batch_size=3))
    assert [len(labels) for _, labels in batches] == [3, 1]
    assert np.array_equal(torch.cat([part for part, _ in batches]).numpy(), images[8:12])
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("archive", "own", "message"),
    [
        (
            {"labels": (0, 1, 2, 3)},
            {},
            r"labels\.npy holds labels from 0 to 3, but the data set has 3 classes",
        ),
        ({"size": (8, 9)}, {}, r"fog\.npy holds images of \[8, 9, 3\], but the data set's are \[8, 8, 3\]"),
        ({"labels": (0, 1, 1, 2)}, {}, r"labels\.npy has other numbers of images by class"),
    ],
)
def test_the_archive_of_another_data_set_is_refused(tmp_path, archive, own, message):
    write(tmp_path, **archive)
    with pytest.raises(DatasetError, match=message):
        ArchivedCorruptions(tmp_path, classes=CLASSES, clean=clean(**own))


def test_another_number_of_images_is_no_other_data_set(tmp_path):
    write(tmp_path, labels=(0, 1))
    assert ArchivedCorruptions(tmp_path, classes=CLASSES, clean=clean()).names == ("fog",)


def test_the_identity_changes_with_the_files(tmp_path):
    write(tmp_path)
    before = ArchivedCorruptions(tmp_path, classes=CLASSES).identity()
    assert before == ArchivedCorruptions(tmp_path, classes=CLASSES).identity()
    write(tmp_path, labels=(0, 1))
    assert before != ArchivedCorruptions(tmp_path, classes=CLASSES).identity()
