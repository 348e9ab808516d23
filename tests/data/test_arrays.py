"""Data sets that users bring as .npz files, and what is told of a file that can't be used."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenet.data import Arrays
from tenet.errors import DatasetError


def contents(**changes: Any) -> dict[str, Any]:
    """The arrays of a good file: 6 training and 3 test images of 3 classes, 4 high and 5 wide."""
    generator = np.random.default_rng(0)
    arrays = {
        "train_images": generator.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8),
        "train_labels": np.array([0, 1, 2, 0, 1, 2]),
        "test_images": generator.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8),
        "test_labels": np.array([2, 1, 0]),
        "classes": np.array(["cat", "dog", "owl"]),
    }
    return {name: array for name, array in (arrays | changes).items() if array is not None}


def write(path: Path, **changes: Any) -> Path:
    np.savez(path, **contents(**changes))
    return path


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    expected = contents()
    splits = Arrays(path=str(write(tmp_path / "own.npz"))).load()
    train, validation, test = splits
    assert validation is None
    assert splits.classes == test.classes == ("cat", "dog", "owl")
    for part, name in ((train, "train"), (test, "test")):
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert np.array_equal(part.images.numpy(), expected[f"{name}_images"])
        assert np.array_equal(part.labels.numpy(), expected[f"{name}_labels"])


@pytest.mark.parametrize("numbers", [(1, 2, 3), (10, 20, 30), (0, 1, 3), (7, 8, 10**12)])
def test_without_class_names_the_numbers_that_occur_are_the_names(
    tmp_path: Path, numbers: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    labels = np.array(numbers * 2)
    path = write(tmp_path / "own.npz", classes=None, train_labels=labels, test_labels=labels[2:5])
    splits = Arrays(path=str(path)).load()
    assert splits.classes == tuple(map(str, numbers))
    assert (splits.train.labels.tolist(), splits.test.labels.tolist()) == ([0, 1, 2, 0, 1, 2], [2, 0, 1])
    assert f"taken as 3 classes named {', '.join(map(str, numbers))}" in caplog.text


def test_labels_that_count_from_0_are_taken_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert Arrays(path=str(write(tmp_path / "own.npz", classes=None))).load().classes == ("0", "1", "2")
    assert not caplog.records


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64])
def test_labels_in_a_column_and_whole_floats_are_taken(tmp_path: Path, dtype: type) -> None:
    columns = {
        f"{split}_labels": contents()[f"{split}_labels"][:, None].astype(dtype) for split in ("train", "test")
    }
    splits = Arrays(path=str(write(tmp_path / "own.npz", **columns))).load()
    assert (splits.train.labels.tolist(), splits.test.labels.tolist()) == ([0, 1, 2, 0, 1, 2], [2, 1, 0])


def test_a_class_without_training_images_and_an_unused_split_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = np.array(["cat", "dog", "owl", "rat"])
    path = write(tmp_path / "own.npz", classes=names, val_labels=np.array([0]))
    assert len(Arrays(path=str(path)).load().classes) == 4
    assert "no training image of 1 of 4 classes, such as rat" in caplog.text
    assert "val_images and val_labels are not used; dataset.validation_fraction" in caplog.text


@pytest.mark.parametrize(
    ("classes", "names"), [(None, ("0", "1", "2")), (np.array(["cat", "dog", "owl", "rat"]), None)]
)
def test_a_test_set_alone_is_taken_for_evaluation_and_not_for_training(
    tmp_path: Path, classes: np.ndarray | None, names: tuple[str, ...] | None
) -> None:
    path = write(tmp_path / "own.npz", train_images=None, train_labels=None, classes=classes)
    test = Arrays(path=str(path)).test_source()
    assert test.classes == (names or ("cat", "dog", "owl", "rat"))
    assert test.labels.tolist() == [2, 1, 0]
    with pytest.raises(DatasetError, match="lacks train_images, train_labels; it holds test_images"):
        Arrays(path=str(path)).load()


def test_the_test_set_for_evaluation_is_that_of_training(tmp_path: Path) -> None:
    data = Arrays(
        path=str(
            write(
                tmp_path / "own.npz",
                classes=None,
                train_labels=np.arange(1, 7),
                test_labels=np.array([2, 1, 3]),
            )
        )
    )
    assert data.test_source().fingerprint() == data.load().test.fingerprint()


def test_a_test_label_that_training_never_sees_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "own.npz", classes=None, test_labels=np.array([0, 3, 1], dtype=np.uint8))
    with pytest.raises(DatasetError, match="label 3 of the test set never occurs in the training set"):
        Arrays(path=str(path)).load()


@pytest.mark.parametrize("shape", [(6, 4, 5), (6, 4, 5, 1)])
def test_grey_images_become_rgb(tmp_path: Path, shape: tuple[int, ...]) -> None:
    grey = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    images = Arrays(path=str(write(tmp_path / "own.npz", train_images=grey))).load().train.images
    assert images.shape == (6, 4, 5, 3)
    assert all(np.array_equal(images[..., channel].numpy(), grey.reshape(6, 4, 5)) for channel in range(3))


def test_a_path_may_begin_at_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "own.npz")
    assert len(Arrays(path="~/own.npz").load().train.labels) == 6


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (
            {"test_labels": None, "train_images": None},
            "lacks train_images, test_labels; it holds train_labels",
        ),
        (
            {"train_images": contents()["train_images"] / 255},
            "images must be uint8 from 0 to 255, not float64",
        ),
        ({"train_images": contents()["train_images"][0, 0]}, r"shape \[N, height, width, 3\], not \[5, 3\]"),
        ({"test_images": np.zeros((3, 3, 4, 5), np.uint8)}, r"height, width, 3\], not \[3, 3, 4, 5\]"),
        ({"train_labels": np.arange(3)}, "6 images but 3 labels"),
        (
            {"train_labels": np.eye(6, dtype=np.int64)},
            r"labels must be integers of shape \[N\], not int64 \[6, 6\]; take labels\.argmax\(axis=1\) if",
        ),
        ({"train_labels": np.array(2), "classes": None}, r"labels must be integers of shape \[N\]"),
        ({"train_labels": np.full(6, 0.5)}, "labels must be integers of shape .* not float64"),
        ({"train_labels": np.full(6, np.nan)}, "labels must be integers of shape .* not float64"),
        ({"train_labels": np.array([1, 2, 3, 1, 2, 3])}, r"\[0, 3\), got 1 to 3; subtract 1 from them"),
        ({"classes": np.array(["cat", "dog", "cat"])}, "2 classes are named 'cat'"),
        ({"train_labels": np.array([0, 1, -1, 0, 1, 2])}, r"labels must be in \[0, 3\), got -1 to 2"),
        ({"train_labels": np.array([0, 1, -1, 0, 1, 2]), "classes": None}, r"\[0, classes\), got -1 to 2"),
        ({"test_labels": np.array([0, 1, 3])}, r"labels must be in \[0, 3\), got 0 to 3"),
        ({"classes": np.array([], dtype=str)}, r"labels must be in \[0, 0\)"),
        (
            {"test_labels": np.array([0, 1, 10**12]), "classes": None},
            "label 1000000000000 of the test set never",
        ),
        (
            {"test_images": np.zeros((0, 4, 5, 3), np.uint8), "test_labels": np.arange(0)},
            "there are no images",
        ),
        (
            {"test_images": np.zeros((3, 5, 5, 3), np.uint8)},
            r"images are \[4, 5, 3\], test images \[5, 5, 3\]",
        ),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], rule: str
) -> None:
    path = write(tmp_path / "own.npz", **changes)
    with pytest.raises(DatasetError, match=rule) as error:
        Arrays(path=str(path)).load()
    assert str(path) in str(error.value)


def test_a_missing_file_is_told_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.path=.*nowhere\.npz is not a file"):
        Arrays(path=str(tmp_path / "nowhere.npz")).load()


def compressed() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **contents())
    return file.getvalue()


def single_array() -> bytes:
    file = io.BytesIO()
    np.save(file, contents()["train_images"])
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"images, labels\n1, 2\n", id="text"),
        pytest.param(compressed()[:-100], id="truncated"),
        pytest.param(compressed().replace(compressed()[200:210], b"\xff" * 10), id="damaged inside"),
        pytest.param(single_array(), id="a single array"),
    ],
)
def test_what_is_not_a_whole_npz_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"own\.npz can't be read as a NumPy \.npz file of plain arrays"):
        Arrays(path=str(path)).load()


class Trap:
    """Creates the file `sprung` when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> Any:
        return Path.touch, (self.sprung,)


@pytest.mark.parametrize("key", ["train_images", "classes"])
def test_pickled_objects_in_a_file_are_refused_and_do_not_run(tmp_path: Path, key: str) -> None:
    sprung = tmp_path / "sprung"
    trap = np.empty(6, dtype=object)
    trap[:] = [Trap(sprung)] * 6
    path = write(tmp_path / "own.npz", **{key: trap})
    with pytest.raises(DatasetError, match=r"own\.npz can't be read .* plain arrays"):
        Arrays(path=str(path)).load()
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists(), "the trap itself must work"
