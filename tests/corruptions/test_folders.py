"""The readers of image folders, on small trees written here."""

import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tenet.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from tenet.corruptions.folders import ClassFolder, FolderArchive, read_image
from tenet.errors import DatasetError

CLASSES = ["n01", "n02", "n10"]


def picture(value: int, size: tuple[int, int] = (6, 5)) -> Image.Image:
    """Of one colour, which JPEG keeps; (width, height)."""
    return Image.new("RGB", size, (value, value // 2, 255 - value))


def write_classes(folder: Path, *, offset: int = 0, images: int = 2) -> None:
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for index in range(images):
            # Named against the order in which they are written, with the three suffixes there are.
            suffix = ("JPEG", "png", "jpg")[index % 3]
            picture(offset + 10 * label + 2 * index).save(folder / name / f"val_{9 - index}.{suffix}")


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    write_classes(tmp_path / "clean")
    return tmp_path / "clean"


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
    batches = list(archive.batches("fog", 3, batch_size=4))
    assert [len(batch.labels) for batch in batches] == [4, 2]
    images = torch.cat([batch.images for batch in batches])
    labels = torch.cat([batch.labels for batch in batches])
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


def test_labels_count_through_the_classes_that_are_expected(clean):
    folder = ClassFolder(clean, classes=["n10", "n01", "n02"])
    (batch,) = folder.batches(batch_size=100)
    assert batch.labels.tolist() == [1, 1, 2, 2, 0, 0]
    assert folder.classes == ("n10", "n01", "n02")


def test_files_that_are_no_images_and_hidden_ones_are_passed_over(clean):
    (clean / "n01" / "._val_9.JPEG").write_bytes(b"resource fork")
    (clean / "n01" / "list.txt").write_text("list")
    (clean / "README").write_text("read me")
    (clean / ".cache").mkdir()
    assert sum(len(batch.labels) for batch in ClassFolder(clean).batches(batch_size=4)) == 6


def test_grey_and_transparent_images_become_rgb(tmp_path):
    Image.new("L", (3, 2), 77).save(tmp_path / "grey.png")
    Image.new("RGBA", (3, 2), (1, 2, 3, 128)).save(tmp_path / "transparent.png")
    assert read_image(tmp_path / "grey.png").tolist() == [[[77] * 3] * 3] * 2
    assert read_image(tmp_path / "transparent.png").tolist() == [[[1, 2, 3]] * 3] * 2


@pytest.mark.parametrize("size", [(61, 40), (40, 61), (33, 33), (47, 90)])
def test_resize_and_crop_are_torchvisions(tmp_path, size):
    from torchvision import transforms

    generator = np.random.default_rng(0)
    pixels = generator.integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    expected = transforms.Compose([transforms.Resize(37), transforms.CenterCrop(30)])(Image.fromarray(pixels))
    assert np.array_equal(read_image(tmp_path / "image.png", resize=37, crop=30), np.asarray(expected))


def test_images_of_different_sizes_are_brought_to_one_by_the_crop(clean):
    picture(5, size=(30, 20)).save(clean / "n02" / "val_0.png")
    folder = ClassFolder(clean, resize=8, crop=7)
    assert {tuple(batch.images.shape[1:]) for batch in folder.batches(batch_size=2)} == {(7, 7, 3)}


@pytest.mark.parametrize("content", [b"", b"no image", "cut", "gif"])
def test_a_broken_image_is_named(clean, content):
    path = clean / "n02" / "val_9.JPEG"
    if content == "gif":
        picture(3).save(path, format="GIF")
    else:
        path.write_bytes(path.read_bytes()[:-40] if content == "cut" else content)
    with pytest.raises(DatasetError, match=r"n02/val_9\.JPEG can't be read as a JPEG or PNG image"):
        list(ClassFolder(clean).batches(batch_size=2))


def test_a_file_that_claims_more_pixels_than_are_allowed_is_refused_before_it_is_decoded(clean, monkeypatch):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    (clean / "n01" / "val_0.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DatasetError, match=r"val_0\.png has 9000 x 9000 pixels, more than"):
        next(ClassFolder(clean).batches(batch_size=1))


def test_an_image_of_another_size_is_named(clean):
    picture(3, size=(7, 5)).save(clean / "n10" / "val_8.png")
    with pytest.raises(DatasetError, match=r"n10/val_8\.png has 7 x 5 pixels, the images before it 6 x 5"):
        list(ClassFolder(clean).batches(batch_size=2))


def test_a_crop_larger_than_the_image_is_refused(clean):
    with pytest.raises(DatasetError, match="9 pixels can't be cut out of 6 x 5"):
        next(ClassFolder(clean, crop=9).batches(batch_size=2))


def test_a_missing_severity_or_corruption_is_named(tree):
    archive = FolderArchive(tree)
    with pytest.raises(DatasetError, match="frost is missing; present are snow, fog, spatter"):
        archive.batches("frost", 1, batch_size=2)
    with pytest.raises(ValueError, match="did you mean 'fog'"):
        archive.batches("fogg", 1, batch_size=2)
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


def test_classes_other_than_the_expected_ones_are_named(tree):
    with pytest.raises(DatasetError, match="snow/1/n10 is none of the 2 expected classes"):
        FolderArchive(tree, classes=["n01", "n02"])
    with pytest.raises(DatasetError, match="snow/1/n20 is missing"):
        FolderArchive(tree, classes=[*CLASSES, "n20"])


def test_a_cell_with_fewer_images_than_another_is_refused(tree):
    (tree / "fog" / "2" / "n02" / "val_9.JPEG").unlink()
    archive = FolderArchive(tree)
    archive.batches("snow", 1, batch_size=2)
    with pytest.raises(DatasetError, match="fog/2/n02 has 1 images, but other cells have 2 of this class"):
        archive.batches("fog", 2, batch_size=2)


def test_folders_without_corruptions_classes_or_images_are_refused(clean, tmp_path):
    with pytest.raises(DatasetError, match="clean holds no folder of a corruption"):
        FolderArchive(clean)
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        ClassFolder(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="n01 holds no folders of classes"):
        ClassFolder(clean / "n01")
    (clean / "n20").mkdir()
    with pytest.raises(DatasetError, match=r"n20 holds no \.JPEG"):
        ClassFolder(clean).batches(batch_size=2)


def test_memory_holds_two_batches_ahead_of_the_caller_and_threads_end_with_it(tmp_path, monkeypatch):
    write_classes(tmp_path, images=9)
    read = []

    def counted(path, **keywords):
        read.append(path)
        return read_image(path, **keywords)

    monkeypatch.setattr("tenet.corruptions.folders.read_image", counted)
    batches = ClassFolder(tmp_path).batches(batch_size=3)
    next(batches)
    next(batches)
    # And the first image once more, for the size of them all.
    assert len(read) <= 9 + 1
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
