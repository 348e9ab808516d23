"""The reader of the official archives, on files written here."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tenet.corruptions import OfficialArchive
from tenet.corruptions.archive import FolderArchive, open_archive
from tenet.corruptions.write import ArchiveWriter
from tenet.data import ImageArrays
from tenet.errors import DatasetError
from tests.data.trees import CLASSES, folder_of, picture, read_whole, write_classes

IMAGES = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two corruptions of four 6 x 5 images; a pixel is the number of its row in the file."""
    labels = np.tile(np.array([3, 1, 2, 0], dtype=np.uint8), 5)
    np.save(tmp_path / "labels.npy", labels)
    for name, offset in (("fog", 0), ("spatter", 100)):
        rows = np.arange(5 * IMAGES, dtype=np.uint8) + offset
        np.save(tmp_path / f"{name}.npy", np.broadcast_to(rows[:, None, None, None], (5 * IMAGES, 6, 5, 3)))
    return tmp_path


def test_a_cell_is_the_rows_of_its_severity_and_its_labels(folder):
    archive = OfficialArchive(folder)
    assert archive.names == ("fog", "spatter")
    assert archive.images_per_severity == IMAGES
    images, labels = read_whole(archive.cell("spatter", 3), batch_size=3)
    assert images.dtype == torch.uint8
    assert images.shape == (IMAGES, 6, 5, 3)
    assert images[:, 0, 0, 0].tolist() == [108, 109, 110, 111]
    assert labels.dtype == torch.int64
    assert labels.tolist() == archive.cell("spatter", 3).labels.tolist() == [3, 1, 2, 0]


def test_a_cell_is_a_view_of_the_file_and_cannot_be_written(folder):
    images = OfficialArchive(str(folder)).cell("fog", 1).images
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable


def test_names_come_in_the_canonical_order(folder):
    (folder / "fog.npy").rename(folder / "saturate.npy")
    np.save(folder / "snow.npy", np.load(folder / "spatter.npy"))
    assert OfficialArchive(folder).names == ("snow", "spatter", "saturate")


def test_a_corruption_that_is_absent_is_named(folder):
    with pytest.raises(DatasetError, match=r"snow\.npy is missing"):
        OfficialArchive(folder).cell("snow", 1)
    with pytest.raises(ValueError, match="did you mean 'fog'"):
        OfficialArchive(folder).cell("fogg", 1)
    with pytest.raises(ValueError, match="severity=6"):
        OfficialArchive(folder).cell("fog", 6)


def test_a_folder_without_labels_or_without_images_is_refused(folder, tmp_path):
    with pytest.raises(DatasetError, match=r"labels\.npy is missing"):
        OfficialArchive(tmp_path / "elsewhere")
    for name in ("fog", "spatter"):
        (folder / f"{name}.npy").unlink()
    with pytest.raises(DatasetError, match=r"holds no <corruption>\.npy"):
        OfficialArchive(folder)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((20, 6, 5, 3), dtype=np.float32), r"fog\.npy holds float32"),
        (np.zeros((20, 3, 6, 5), dtype=np.uint8), r"fog\.npy holds uint8 \[20, 3, 6, 5\]"),
        (np.zeros((20, 6, 5), dtype=np.uint8), r"fog\.npy holds uint8 \[20, 6, 5\]"),
        (np.zeros((19, 6, 5, 3), dtype=np.uint8), r"fog\.npy has 19 rows but labels\.npy has 20"),
    ],
)
def test_images_of_another_type_shape_or_number_are_refused(folder, images, message):
    np.save(folder / "fog.npy", images)
    with pytest.raises(DatasetError, match=message):
        OfficialArchive(folder)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_labels_in_a_column_and_whole_floats_are_taken(folder, dtype):
    before = OfficialArchive(folder).cell("fog", 1).labels
    np.save(folder / "labels.npy", np.load(folder / "labels.npy")[:, None].astype(dtype))
    assert torch.equal(OfficialArchive(folder).cell("fog", 1).labels, before)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(21, dtype=np.uint8), "has 21 rows"),
        (np.zeros(0, dtype=np.uint8), "has 0 rows"),
        (np.full(20, 0.5), "labels must be integers of shape"),
        (np.zeros((20, 2), dtype=np.uint8), "labels must be integers of shape"),
        (np.arange(20, dtype=np.uint8), "differs between severities"),
    ],
)
def test_labels_of_another_type_or_number_or_order_are_refused(folder, labels, message):
    np.save(folder / "labels.npy", labels)
    with pytest.raises(ValueError, match=rf"labels\.npy:? {message}"):
        OfficialArchive(folder)


def test_a_file_cut_short_is_refused(folder):
    whole = (folder / "fog.npy").read_bytes()
    (folder / "fog.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"fog\.npy is not a whole plain \.npy file"):
        OfficialArchive(folder)


def test_pickled_objects_are_refused(folder):
    np.save(folder / "fog.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"fog\.npy is not a whole plain \.npy file"):
        OfficialArchive(folder)


# --- archives of other data sets


def clean(labels=(0, 1, 2, 3), size=(6, 5), classes=("a", "b", "c", "d")):
    return ImageArrays(torch.zeros(len(labels), *size, 3, dtype=torch.uint8), torch.tensor(labels), classes)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (
            {"classes": ("a", "b", "c")},
            r"labels\.npy holds labels from 0 to 3, but the data set has 3 classes",
        ),
        ({"size": (6, 6)}, r"fog\.npy holds images of \[6, 5, 3\], but the data set's are \[6, 6, 3\]"),
        ({"labels": (0, 1, 2, 2)}, "has 1 images of class d, but the test set has 0; is this the archive"),
        ({"labels": (3,)}, "has 1 images of class a, but the test set has 0"),
        ({"labels": (0, 1, 2, 3)}, r"labels\.npy: the labels differ from the test set's in 2 of 4 places"),
    ],
)
def test_the_archive_of_another_data_set_is_refused(folder, own, message):
    with pytest.raises(DatasetError, match=message):
        open_archive(folder, test=clean(**own))


@pytest.mark.parametrize("labels", [(3, 1, 2, 0), (0, 1, 2, 2, 3)])
def test_the_labels_of_the_test_set_or_of_a_part_of_it_are_taken(folder, labels):
    archive = open_archive(folder, test=clean(labels))
    assert archive.names == ("fog", "spatter")
    assert archive.cell("fog", 1).classes == ("a", "b", "c", "d")


def test_streamed_test_images_are_compared_too(folder, tmp_path):
    write_classes(tmp_path / "clean")
    with pytest.raises(DatasetError, match="labels from 0 to 3, but the data set has 3 classes"):
        open_archive(folder, test=folder_of(tmp_path / "clean"))
    np.save(folder / "labels.npy", np.zeros(20, np.uint8))
    with pytest.raises(DatasetError, match=r"images of \[6, 5, 3\], but the data set's are \[5, 6, 3\]"):
        open_archive(folder, test=folder_of(tmp_path / "clean"))


def test_a_generated_archive_must_be_of_these_very_images(tmp_path):
    test = clean()
    ArchiveWriter(tmp_path, test.images, test.labels, num_classes=4).write("labels")
    np.save(tmp_path / "fog.npy", np.zeros((20, 6, 5, 3), np.uint8))
    assert open_archive(tmp_path, test=test).kind == "generated"
    other = ImageArrays(test.images + 1, test.labels, test.classes)
    with pytest.raises(DatasetError, match=r"was made from other images than the data set's test images"):
        open_archive(tmp_path, test=other)
    assert open_archive(tmp_path, test=other, has_labels=False).kind == "generated"


def test_a_tree_is_known_by_its_folders_and_must_have_the_classes(tmp_path):
    for severity in range(1, 6):
        write_classes(tmp_path / "fog" / str(severity), images=1)
    archive = open_archive(tmp_path, test=clean(labels=(0, 1, 2), size=(5, 6), classes=tuple(CLASSES)))
    assert isinstance(archive, FolderArchive)
    assert (archive.kind, archive.names) == ("files", ("fog",))
    with pytest.raises(DatasetError, match="fog/1/a is missing"):
        open_archive(tmp_path, test=clean())


def test_a_tree_of_other_sizes_or_of_more_images_is_refused(tmp_path):
    for severity in range(1, 6):
        write_classes(tmp_path / "fog" / str(severity), images=2)

    def opened(labels=(0, 0, 1, 1, 2, 2), size=(5, 6)):
        return open_archive(tmp_path, test=clean(labels=labels, size=size, classes=tuple(CLASSES)))

    assert len(opened().cell("fog", 1)) == 6
    assert len(opened(labels=(0, 0, 0, 1, 1, 2, 2)).cell("fog", 1)) == 6
    with pytest.raises(DatasetError, match=r"fog/1/n01/val_8\.png has 6 x 5 pixels, not 8 x 8 as the others"):
        opened(size=(8, 8))
    with pytest.raises(DatasetError, match="fog/2 has 2 images of class n10, but the test set has 1"):
        opened(labels=(0, 0, 1, 1, 2)).cell("fog", 2)
    picture(0, size=(8, 8)).save(tmp_path / "fog" / "3" / "n01" / "val_8.png")
    with pytest.raises(DatasetError, match=r"fog/3/n01/val_8\.png has 8 x 8 pixels, not 6 x 5 as the others"):
        read_whole(opened().cell("fog", 3))


def test_the_identity_changes_with_the_files(folder):
    before = OfficialArchive(folder).identity()
    assert OfficialArchive(folder).identity() == before
    np.save(folder / "fog.npy", np.zeros((20, 6, 6, 3), np.uint8))
    assert OfficialArchive(folder).identity() != before


def test_an_archive_with_a_manifest_was_generated(folder):
    assert OfficialArchive(folder).kind == "files"
    (folder / "manifest.json").write_text("{}")
    assert OfficialArchive(folder).kind == "generated"


def test_images_that_do_not_resemble_the_test_images_are_reported(tmp_path, caplog):
    pixels = torch.rand(2, 10, 8, 8, 3, generator=torch.Generator().manual_seed(0)).mul(255).to(torch.uint8)
    mine, others = (ImageArrays(images, torch.arange(10) % 2, ("a", "b")) for images in pixels)
    for name in ("brightness", "labels"):
        ArchiveWriter(tmp_path, mine.images, mine.labels, num_classes=2).write(name)
    (tmp_path / "manifest.json").unlink()
    open_archive(tmp_path, test=mine)
    assert not caplog.records
    open_archive(tmp_path, test=others)
    assert "has the labels of the test set, but its images hardly resemble the test images" in caplog.text
