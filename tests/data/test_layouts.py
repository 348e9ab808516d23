"""The layouts of published data sets, on small trees written here."""

import shutil
from pathlib import Path

import pytest

from tenet.data.named.cub200 import list_cub200
from tenet.data.named.imagenet import list_imagenet
from tenet.data.named.tiny_imagenet import list_tiny_imagenet
from tenet.data.named.tree import Listing
from tenet.data.named.voc2012 import CLASSES, list_voc2012
from tenet.errors import DatasetError
from tests.data.published import (
    BIRDS,
    WNIDS,
    write_cub200,
    write_imagenet,
    write_tiny_imagenet,
    write_voc2012,
)


def names_by_path(listing: Listing, split: str) -> dict[str, str]:
    """The class name of each image."""
    return {path: listing.classes[label] for path, label in getattr(listing, split)}


def test_tiny_imagenet_sorts_the_ids_of_wnids_txt(tmp_path: Path) -> None:
    listing = list_tiny_imagenet(write_tiny_imagenet(tmp_path))
    assert listing.classes == tuple(sorted(WNIDS))
    train = names_by_path(listing, "train")
    assert len(train) == 8
    assert all(path.split("/")[1] == name for path, name in train.items())
    # val_<n> counts down through WNIDS (see write_tiny_imagenet).
    assert names_by_path(listing, "test")["val/images/val_8.JPEG"] == WNIDS[0]
    assert names_by_path(listing, "test")["val/images/val_2.JPEG"] == WNIDS[3]


def test_cub200_follows_its_tables(tmp_path: Path) -> None:
    listing = list_cub200(write_cub200(tmp_path))
    assert listing.classes == BIRDS
    for split, numbers in (("train", (2, 3)), ("test", (0, 1))):
        found = names_by_path(listing, split)
        assert found == {
            f"images/{name}/{name[4:]}_{number:04}.jpg": name for name in BIRDS for number in numbers
        }


def test_voc2012_flags_become_present_absent_and_not_counted(tmp_path: Path) -> None:
    listing = list_voc2012(write_voc2012(tmp_path))
    ((first, horse), (_, bottle)) = listing.train
    assert first == "JPEGImages/2008_000008.jpg"
    assert {name: label for name, label in zip(CLASSES, horse, strict=True) if label} == {
        "horse": 1,
        "person": 1,
    }
    assert {name: label for name, label in zip(CLASSES, bottle, strict=True) if label} == {
        "bottle": 1,
        "person": -1,
    }
    assert [path for path, _ in listing.test] == ["JPEGImages/2008_000002.jpg", "JPEGImages/2008_000003.jpg"]


@pytest.mark.parametrize("flat", [False, True])
def test_imagenet_orders_classes_by_wordnet_id(tmp_path: Path, flat: bool) -> None:
    root = write_imagenet(tmp_path, flat=flat)
    (root / "val" / ".cache").mkdir()  # left behind by another program
    listing = list_imagenet(root)
    assert listing.classes == tuple(sorted(WNIDS))
    train = names_by_path(listing, "train")
    assert len(train) == 8
    assert all(path.split("/")[1] == name for path, name in train.items())
    by_number = {path[-8:-5]: name for path, name in names_by_path(listing, "test").items()}
    assert by_number == {f"{1 + number:03}": WNIDS[number // 2] for number in range(8)}


@pytest.mark.parametrize("flat", [False, True])
def test_a_subset_of_imagenet_by_classes_and_by_step(tmp_path: Path, flat: bool) -> None:
    root, ordered = write_imagenet(tmp_path, flat=flat), sorted(WNIDS)
    # In the order of the ids, however they are listed.
    chosen = list_imagenet(root, classes=[ordered[3], ordered[1]])
    assert chosen.classes == (ordered[1], ordered[3])
    assert [label for _, label in chosen.train] == [0, 0, 1, 1]
    assert sorted(label for _, label in chosen.test) == [0, 0, 1, 1]
    assert list_imagenet(root, class_step=2).classes == (ordered[0], ordered[2])
    with pytest.raises(DatasetError, match=r"dataset\.classes: n99 is none of the 4 folders"):
        list_imagenet(root, classes=["n99"])


def test_folders_of_other_classes_are_not_imagenet(tmp_path: Path) -> None:
    root = write_imagenet(tmp_path)
    (root / "train" / "n01440764").rename(root / "train" / "tench")
    with pytest.raises(DatasetError, match=r"tench is not named after a WordNet id .* dataset=images reads"):
        list_imagenet(root)


def test_a_flat_validation_set_needs_the_development_kit(tmp_path: Path) -> None:
    root = write_imagenet(tmp_path, flat=True)
    (root / "val" / "ILSVRC2012_val_00000001.JPEG").unlink()
    with pytest.raises(DatasetError, match=r"val holds 7 images, but .*ground_truth.txt has 8 lines"):
        list_imagenet(root)
    shutil.rmtree(root / "ILSVRC2012_devkit_t12")
    with pytest.raises(
        DatasetError, match=r"no folders of classes; move its images into val/<wnid>, or unpack"
    ):
        list_imagenet(root)


@pytest.mark.parametrize(
    ("read", "write", "damage", "message"),
    [
        (list_tiny_imagenet, write_tiny_imagenet, "wnids.txt", r"wnids.txt is missing; unpack tiny-imagenet-200.zip"),
        (list_tiny_imagenet, write_tiny_imagenet, f"train/{WNIDS[1]}/images", rf"train/{WNIDS[1]}/images is missing"),
        (list_tiny_imagenet, write_tiny_imagenet, "val/images/val_3.JPEG", r"1 image missing, first .*/val_3.JPEG; unpack"),
        (list_cub200, write_cub200, "train_test_split.txt", r"train_test_split.txt is missing; unpack CUB_200_2011.tgz"),
        (list_cub200, write_cub200, f"images/{BIRDS[0]}", r"4 images missing, first .*_0000.jpg; .* MD5 97eceeb1"),
        (list_voc2012, write_voc2012, "ImageSets/Main/cow_val.txt", "cow_val.txt is missing"),
        (list_voc2012, write_voc2012, "JPEGImages/2008_000002.jpg", "1 image missing, first .*_000002.jpg"),
        (list_imagenet, write_imagenet, "val", r"val is missing; unpack ILSVRC2012_img_train.tar"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_the_archive_that_holds_it(tmp_path, read, write, damage, message):
    root = write(tmp_path / "data")
    whole = root / damage
    shutil.rmtree(whole) if whole.is_dir() else whole.unlink()
    with pytest.raises(DatasetError, match=message) as error:
        read(root)
    assert f"so that {root} is" in str(error.value)
    with pytest.raises(DatasetError, match="is not a folder; unpack"):
        read(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        ("image_class_labels.txt", "1 4", "4 of image 1 is not one of 3 numbers"),
        ("train_test_split.txt", "1", "line 1, has 1 field, not 2"),
        ("train_test_split.txt", "2 1", "has an id twice"),
        ("images.txt", "77 a.jpg", "image 1 is in only one of images.txt and image_class_labels.txt"),
        ("classes.txt", "0 Bird", "does not count its classes from 1"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, table, line, message):
    path = write_cub200(tmp_path) / table
    path.write_text("\n".join([line, *path.read_text().splitlines()[1:]]))
    with pytest.raises(DatasetError, match=message):
        list_cub200(tmp_path)
