"""CIFAR-10.1, on files written here."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tenet.errors import DatasetError
from tenet.evaluation.measures import Measures
from tenet.evaluation.suites.natural_shift import CLASSES, NaturalShift, read_cifar101
from tests.evaluation.predictions import make_predictions


def write(folder: Path, *, version: str = "v6", images: int = 2000, dtype: type = np.int64) -> Path:
    """A pixel is the number of its image modulo 256, a label modulo 10."""
    numbers = np.arange(images)
    pixels = np.broadcast_to(numbers.astype(np.uint8)[:, None, None, None], (images, 32, 32, 3))
    np.save(folder / f"cifar10.1_{version}_data.npy", pixels)
    np.save(folder / f"cifar10.1_{version}_labels.npy", (numbers % 10).astype(dtype))
    return folder


@pytest.mark.parametrize(("version", "size"), [("v4", 2021), ("v6", 2000), ("v7", 12)])
def test_images_and_labels_come_back_as_they_were_written(tmp_path: Path, version: str, size: int) -> None:
    arrays = read_cifar101(write(tmp_path, version=version, images=size), version)
    images, labels = arrays.images, arrays.labels
    assert images.dtype == torch.uint8
    assert images.shape == (size, 32, 32, 3)
    assert images[11, 0, 0].tolist() == [11, 11, 11]
    assert labels.dtype == torch.int64
    assert labels.tolist() == [number % 10 for number in range(size)]


def test_version_6_is_the_default_and_small_integers_become_int64(tmp_path: Path) -> None:
    write(tmp_path, version="v4", images=2021)
    labels = read_cifar101(str(write(tmp_path, dtype=np.uint8))).labels
    assert len(labels) == 2000
    assert labels.dtype == torch.int64


def test_the_tensors_are_copies_and_leave_the_files_alone(tmp_path: Path) -> None:
    read_cifar101(write(tmp_path, version="own", images=2), "own").images.zero_()
    assert read_cifar101(tmp_path, "own").images[1].min() == 1


def test_a_missing_file_is_named_with_where_to_take_it_from(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"cifar10\.1_v6_data\.npy is missing; take both .*CIFAR-10\.1"):
        read_cifar101(tmp_path)
    (write(tmp_path) / "cifar10.1_v6_labels.npy").unlink()
    with pytest.raises(DatasetError, match=r"cifar10\.1_v6_labels\.npy is missing"):
        read_cifar101(tmp_path)


def test_a_published_version_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"v4_data\.npy holds 2000 images, but v4 has 2021"):
        read_cifar101(write(tmp_path, version="v4"), "v4")


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((4, 32, 32, 3), dtype=np.float32),
        np.zeros((4, 3, 32, 32), dtype=np.uint8),
        np.zeros((4, 16, 32, 3), dtype=np.uint8),
        np.zeros((4, 32, 32), dtype=np.uint8),
        np.zeros((), dtype=np.uint8),
        np.zeros((0, 32, 32, 3), dtype=np.uint8),
    ],
)
def test_images_of_another_type_or_shape_are_refused(tmp_path: Path, images: np.ndarray) -> None:
    np.save(write(tmp_path, version="own", images=4) / "cifar10.1_own_data.npy", images)
    with pytest.raises(DatasetError, match=r"own_data\.npy .*take both"):
        read_cifar101(tmp_path, "own")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(4, dtype=np.float64), r"holds float64 \[4\]"),
        (np.zeros((4, 1), dtype=np.int64), r"holds int64 \[4, 1\]"),
        (np.zeros(3, dtype=np.int64), r"not integers \[4\]"),
        (np.array([0, 1, 2, 10]), "holds labels from 0 to 10"),
        (np.array([0, -1, 2, 9]), "holds labels from -1 to 9"),
    ],
)
def test_labels_of_another_type_number_or_range_are_refused(
    tmp_path: Path, labels: np.ndarray, message: str
) -> None:
    np.save(write(tmp_path, version="own", images=4) / "cifar10.1_own_labels.npy", labels)
    with pytest.raises(DatasetError, match=rf"own_labels\.npy .*{message}.*; take both"):
        read_cifar101(tmp_path, "own")


def test_a_file_cut_short_or_pickled_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, version="own", images=4) / "cifar10.1_own_data.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"own_data\.npy is not a whole plain \.npy file"):
        read_cifar101(tmp_path, "own")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"own_data\.npy is not a whole plain \.npy file"):
        read_cifar101(tmp_path, "own")


# --- the suite


def test_the_cells_are_the_versions_that_the_folder_holds(tmp_path: Path) -> None:
    write(write(tmp_path, version="v4", images=2021))
    suite = NaturalShift(tmp_path, measures=Measures(CLASSES))
    assert [(cell.name, len(cell.source)) for cell in suite.cells()] == [
        ("cifar10.1-v4", 2021),
        ("cifar10.1-v6", 2000),
    ]
    assert len(suite) == 2
    with pytest.raises(DatasetError, match=r"cifar10\.1_v6_data\.npy is missing"):
        NaturalShift(tmp_path / "empty", measures=Measures(CLASSES))


def test_a_classifier_of_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="needs a classifier of 10 classes, not of 2"):
        NaturalShift(write(tmp_path), measures=Measures(("a", "b")))
    with pytest.raises(DatasetError, match="only the network has a, b"):
        NaturalShift(tmp_path, measures=Measures(tuple("abcdefghij")))


def test_labels_are_those_of_the_data_set_s_order_of_the_classes(tmp_path: Path) -> None:
    suite = NaturalShift(write(tmp_path), measures=Measures(CLASSES[::-1]))
    assert next(suite.cells()).source.labels[:12].tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 9, 8]


def test_a_data_set_of_other_sizes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"CIFAR-10\.1 are 32 x 32, but the data set's are 16 x 24"):
        NaturalShift(write(tmp_path), measures=Measures(CLASSES), size=(24, 16))


def test_figures_are_those_of_a_test_set(tmp_path: Path) -> None:
    measures = Measures(CLASSES)
    predictions = make_predictions(10)
    summary = NaturalShift(write(tmp_path), measures=measures).summarize({"cifar10.1-v6": predictions})
    assert summary.content == {"other_test_sets": {"cifar10.1-v6": measures.figures_of(predictions)}}
    assert summary.metrics["test/cifar10.1-v6/error_pct"] == pytest.approx(10)
    assert summary.lines[0].startswith("cifar10.1-v6 error 10.00 % [")
    assert "of 200 images" in summary.lines[0]
