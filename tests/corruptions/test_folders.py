"""The reader of trees such as ImageNet-C, on small trees written here."""

from pathlib import Path

import pytest
import torch

from tenet.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from tenet.corruptions.archive import FolderArchive
from tenet.errors import DatasetError
from tests.data.trees import CLASSES, read_whole, write_classes


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for index, name in enumerate(("snow", "fog", "spatter")):
        for severity in range(1, 6):
            write_classes(tmp_path / name / str(severity), offset=50 * index + severity)
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_a_cell_has_its_images_and_labels_in_the_order_of_the_sorted_paths(tree):
    archive = FolderArchive(str(tree))
    assert archive.names == ("snow", "fog", "spatter")
    assert archive.classes == ("n01", "n02", "n10")
    images, labels = read_whole(archive.cell("fog", 3))
    assert images.dtype == torch.uint8
    assert images.shape == (6, 5, 6, 3)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    # val_8.png before val_9.JPEG; 53 is fog at severity 3. JPEG may be off by one.
    red = images[:, 2, 2, 0].int()
    assert (red - torch.tensor([55, 53, 65, 63, 75, 73])).abs().max() <= 1


def test_names_come_in_the_canonical_order(tmp_path):
    for name in ("saturate", "jpeg_compression", "gaussian_noise"):
        for severity in range(1, 6):
            write_classes(tmp_path / name / str(severity), images=1)
    archive = FolderArchive(tmp_path)
    assert list(archive.names) == [name for name in CORRUPTIONS + EXTRA_CORRUPTIONS if name in archive.names]
    assert len(archive.names) == 3


def test_a_missing_severity_or_corruption_is_named(tree):
    archive = FolderArchive(tree)
    with pytest.raises(DatasetError, match="frost is missing; present are snow, fog, spatter"):
        archive.cell("frost", 1)
    with pytest.raises(ValueError, match="did you mean 'fog'"):
        archive.cell("fogg", 1)
    (tree / "snow" / "4").rename(tree / "snow" / "six")
    with pytest.raises(DatasetError, match="snow/4 is not a folder"):
        FolderArchive(tree)


def test_a_class_that_is_not_in_every_cell_is_named(tree):
    (tree / "spatter" / "2" / "n11").mkdir()
    with pytest.raises(DatasetError, match="spatter/2/n11 is none of the 3 expected classes"):
        FolderArchive(tree)
    (tree / "spatter" / "2" / "n11").rmdir()
    (tree / "fog" / "5" / "n02").rename(tree / "n02")
    with pytest.raises(DatasetError, match="fog/5/n02 is missing"):
        FolderArchive(tree)


def test_a_data_set_of_fewer_classes_leaves_the_others_out_with_a_line(tree, caplog):
    (tree / "fog" / "2" / "n99").mkdir()
    archive = FolderArchive(tree, classes=["n10", "n01"])
    assert f"{tree}: 2 of its classes left out" in caplog.text
    whole = read_whole(FolderArchive(tree, classes=CLASSES).cell("fog", 3))
    part = read_whole(archive.cell("fog", 3))
    assert part.labels.tolist() == [1, 1, 0, 0]
    assert torch.equal(part.images, whole.images[whole.labels != CLASSES.index("n02")])
    with pytest.raises(DatasetError, match="snow/1/n20 is missing"):
        FolderArchive(tree, classes=[*CLASSES, "n20"])


def test_a_cell_with_fewer_images_than_another_is_refused(tree):
    (tree / "fog" / "2" / "n02" / "val_9.JPEG").unlink()
    archive = FolderArchive(tree)
    archive.cell("snow", 1)
    with pytest.raises(DatasetError, match="fog/2/n02 has 1 images, but other cells have 2 of this class"):
        archive.cell("fog", 2)


def test_a_folder_without_corruptions_is_refused(tmp_path):
    write_classes(tmp_path)
    with pytest.raises(DatasetError, match="holds no folder of a corruption"):
        FolderArchive(tmp_path)


def test_the_identity_changes_with_the_folders_of_classes(tree):
    before = FolderArchive(tree).identity()
    assert FolderArchive(tree).identity() == before
    (tree / "fog" / "2" / "n02" / "val_9.JPEG").unlink()
    assert FolderArchive(tree).identity() != before
