"""The data sets by name, and how their settings cut them."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tenet.data import Arrays, Cifar, Digits, ImageArrays, Splits
from tenet.errors import DatasetError

Load = Callable[..., Splits]


@pytest.fixture(scope="module")
def load() -> Load:
    """Digits under some settings, read once."""
    whole = Digits().read()

    class ReadDigits(Digits):
        def read(self) -> tuple[ImageArrays, ImageArrays]:
            return whole

    return lambda **settings: ReadDigits(**settings).load()


def image_ids(part: ImageArrays, whole: ImageArrays) -> set[int]:
    """Where each image of `part` lies in `whole`."""
    position = {image.numpy().tobytes(): index for index, image in enumerate(whole.images)}
    return {position[image.numpy().tobytes()] for image in part.images}


def counts(part: ImageArrays) -> torch.Tensor:
    return torch.bincount(part.labels, minlength=10)


def test_digits_are_1437_and_360_rgb_images_of_ten_classes(load: Load) -> None:
    splits = load()
    train, validation, test = splits
    assert train.images.shape == (1437, 32, 32, 3)
    assert test.images.shape == (360, 32, 32, 3)
    assert train.images.dtype == test.images.dtype == torch.uint8
    assert validation is None
    assert splits.classes == tuple("0123456789")
    assert train.images.min() == 0
    assert train.images.max() == 255
    assert torch.equal(train.images[..., 0], train.images[..., 2])


def test_digits_have_each_class_in_proportion_in_both_parts(load: Load) -> None:
    train, _, test = load()
    share = counts(test) / (counts(train) + counts(test))
    assert (share - 0.2).abs().max() < 0.005


def test_digits_are_cut_into_training_and_test_set_in_one_way_only(load: Load) -> None:
    again = Digits(split_seed=5, fraction=0.5, validation_fraction=0.2).load()
    assert torch.equal(again.test.images, load().test.images)
    assert torch.equal(again.test.labels, load().test.labels)


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_fraction_keeps_that_share_of_each_class(load: Load, fraction: float) -> None:
    whole, part = load().train, load(fraction=fraction).train
    assert len(part.labels) == int(fraction * len(whole.labels))
    assert (counts(part) - fraction * counts(whole)).abs().max() <= 1


def test_validation_is_a_stratified_part_of_the_training_set_and_the_rest_is_trained_on(load: Load) -> None:
    whole = load()
    splits = load(validation_fraction=0.2)
    assert splits.validation is not None
    held_out, trained = image_ids(splits.validation, whole.train), image_ids(splits.train, whole.train)
    assert held_out.isdisjoint(trained)
    assert held_out | trained == image_ids(whole.train, whole.train)
    assert (counts(splits.validation) - 0.2 * counts(whole.train)).abs().max() <= 1
    assert torch.equal(splits.test.images, whole.test.images)


def test_labels_stay_with_their_images(load: Load) -> None:
    whole, splits = load().train, load(validation_fraction=0.2, fraction=0.3)
    label_of = {
        image.numpy().tobytes(): int(label) for image, label in zip(whole.images, whole.labels, strict=True)
    }
    assert splits.validation is not None
    for part in (splits.train, splits.validation):
        assert [label_of[image.numpy().tobytes()] for image in part.images] == part.labels.tolist()


def test_the_validation_part_is_the_same_for_every_fraction_and_apart_from_it(load: Load) -> None:
    whole = load().train
    parts = [load(validation_fraction=0.2, fraction=fraction) for fraction in (1.0, 0.5, 0.1)]
    held_out = [image_ids(part.validation, whole) for part in parts if part.validation is not None]
    assert held_out[0] == held_out[1] == held_out[2]
    assert all(held_out[0].isdisjoint(image_ids(part.train, whole)) for part in parts)


@pytest.mark.parametrize("settings", [{"fraction": 0.3}, {"validation_fraction": 0.3}])
def test_split_seed_alone_draws_the_parts(load: Load, settings: dict[str, float]) -> None:
    first, again, other = (load(split_seed=seed, **settings).train for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


@pytest.mark.parametrize("settings", [{"fraction": 0.005}, {"validation_fraction": 0.005}])
def test_a_part_too_small_for_the_classes_is_refused(load: Load, settings: dict[str, float]) -> None:
    with pytest.raises(DatasetError, match=r"1437 images can't be split into .*0\.005.* of each class"):
        load(**settings)


def test_digits_are_those_of_scikit_learn(load: Load) -> None:
    from sklearn.datasets import load_digits

    train, _, test = load()
    theirs = load_digits()
    # Enlarged four times; the mean of each image survives, but for what is cut off at black and white.
    means = torch.from_numpy(theirs.images.mean(axis=(1, 2))).float() * (255 / 16)
    ours = torch.cat([train.images, test.images]).float().mean(dim=(1, 2, 3))
    assert (ours.sort().values - means.sort().values).abs().max() < 6
    labels = torch.cat([train.labels, test.labels])
    assert torch.equal(labels.bincount(), torch.from_numpy(theirs.target).bincount())


@pytest.mark.slow
def test_reading_digits_in_parts_does_without_scikit_learns_import() -> None:
    code = "import sys; from tenet.data import Digits; Digits(fraction=0.5).load(); sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_digits_without_scikit_learn_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r"dataset=digits: .* install scikit-learn"):
        Digits().load()


@pytest.mark.parametrize(
    "content",
    [b"", b"text", gzip.compress(b""), gzip.compress(b"1,2\n" * 40)[:20]],
    ids=["empty", "text", "no numbers", "cut"],
)
def test_a_damaged_file_of_digits_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "datasets" / "data" / "digits.csv.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    package = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: package)
    with pytest.raises(DatasetError, match=r"digits\.csv\.gz: .*; reinstall scikit-learn"):
        Digits().load()


def test_the_files_of_a_data_set_are_those_that_it_reads(tmp_path):
    assert [path.is_file() for path in Digits().files()] == [True]
    assert Arrays(path="own.npz").files() == (Path("own.npz"),)
    names = [
        path.relative_to(tmp_path).as_posix() for path in Cifar(name="cifar10", root=str(tmp_path)).files()
    ]
    assert names == [f"cifar-10-batches-py/{name}" for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch",
                                                               "batches.meta")]  # fmt: skip
    names = [path.name for path in Cifar(name="cifar100", root=str(tmp_path)).files()]
    assert names == ["train", "test", "meta"]
