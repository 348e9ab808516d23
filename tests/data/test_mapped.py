"""Images that stay on disk."""

import numpy as np
import pytest
import torch

from tenet.data import MappedImages
from tests.data.trees import read_whole


@pytest.fixture
def path(tmp_path):
    """Six rows of two frames; a pixel holds its row and its frame, as a number of two digits."""
    numbers = np.array([[10 * row + frame for frame in (0, 1)] for row in range(6)], np.uint8)
    np.save(tmp_path / "videos.npy", np.broadcast_to(numbers[:, :, None, None, None], (6, 2, 4, 3, 3)))
    return tmp_path / "videos.npy"


def mapped(path, **options):
    array = np.load(path, mmap_mode="r")
    return MappedImages(
        path, array, torch.arange(2 * len(array[options.get("rows", slice(None))])), **options
    )


def test_leading_dimensions_are_flattened_and_images_read_by_id(path):
    source = mapped(path)
    images, labels = read_whole(source, batch_size=5)
    assert images.shape == (12, 4, 3, 3)
    assert images[:, 0, 0, 0].tolist() == [0, 1, 10, 11, 20, 21, 30, 31, 40, 41, 50, 51]
    assert labels.tolist() == list(range(12))
    (batch,) = source.batches([torch.tensor([11, 2])])
    assert batch.images[:, 3, 2, 2].tolist() == [51, 10]
    assert batch.labels.tolist() == [11, 2]


def test_rows_are_a_part_of_the_file(path):
    assert read_whole(mapped(path, rows=slice(2, 4))).images[:, 0, 0, 0].tolist() == [20, 21, 30, 31]


def test_what_is_read_is_a_copy(path):
    next(iter(mapped(path).batches([torch.tensor([3])]))).images.zero_()
    assert np.load(path)[1, 1].min() == 11


def test_the_fingerprint_changes_with_the_file_and_the_rows(path):
    before = mapped(path).fingerprint()
    assert mapped(path).fingerprint() == before
    assert mapped(path, rows=slice(0, 6)).fingerprint() != before
    np.save(path, np.zeros((7, 2, 4, 3, 3), np.uint8))
    assert mapped(path).fingerprint() != before


def test_repeated_and_reversed_ids_are_read_in_their_order(path):
    ids = [torch.tensor([4, 4, 5]), torch.tensor([5, 6]), torch.tensor([6, 5])]
    read = [batch.images[:, 0, 0, 0].tolist() for batch in mapped(path).batches(ids)]
    assert read == [[20, 20, 21], [21, 30], [30, 21]]
