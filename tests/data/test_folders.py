"""Images in folders of classes, on small trees written here."""

import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tenet.data import ClassFolder
from tenet.data.folders import read_image
from tenet.errors import DatasetError
from tests.data.trees import picture, read, read_whole, write_classes


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    write_classes(tmp_path / "clean")
    return tmp_path / "clean"


def test_labels_count_through_the_classes_that_are_expected(clean):
    folder = ClassFolder(clean, classes=["n10", "n01", "n02"])
    assert folder.labels.tolist() == read_whole(folder).labels.tolist() == [1, 1, 2, 2, 0, 0]
    assert folder.classes == ("n10", "n01", "n02")


def test_other_files_and_hidden_ones_are_ignored(clean):
    (clean / "n01" / "._val_9.JPEG").write_bytes(b"resource fork")
    (clean / "n01" / "list.txt").write_text("list")
    (clean / "README").write_text("read me")
    (clean / ".cache").mkdir()
    folder = ClassFolder(clean)
    assert len(folder) == len(read_whole(folder).images) == 6


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
    assert read_whole(folder).images.shape[1:] == (7, 7, 3)


@pytest.mark.parametrize("content", [b"", b"no image", "cut", "gif"])
def test_a_broken_image_is_named(clean, content):
    path = clean / "n02" / "val_9.JPEG"
    if content == "gif":
        picture(3).save(path, format="GIF")
    else:
        path.write_bytes(path.read_bytes()[:-40] if content == "cut" else content)
    with pytest.raises(DatasetError, match=r"n02/val_9\.JPEG can't be read as a JPEG or PNG image"):
        read_whole(ClassFolder(clean))


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
        read_whole(ClassFolder(clean), batch_size=1)


def test_an_image_of_another_size_is_named(clean):
    picture(3, size=(7, 5)).save(clean / "n10" / "val_8.png")
    with pytest.raises(DatasetError, match=r"n10/val_8\.png has 7 x 5 pixels, the images before it 6 x 5"):
        read_whole(ClassFolder(clean))


def test_a_crop_larger_than_the_image_is_refused(clean):
    with pytest.raises(DatasetError, match="9 pixels can't be cut out of 6 x 5"):
        read_whole(ClassFolder(clean, crop=9))


def test_folders_without_classes_or_images_are_refused(clean, tmp_path):
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        ClassFolder(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="n01 holds no folders of classes"):
        ClassFolder(clean / "n01")
    (clean / "n20").mkdir()
    with pytest.raises(DatasetError, match=r"n20 holds no \.JPEG"):
        ClassFolder(clean)


def test_memory_holds_two_batches_ahead_of_the_caller_and_threads_end_with_it(tmp_path, monkeypatch):
    write_classes(tmp_path, images=9)
    paths = []

    def counted(path, **keywords):
        paths.append(path)
        return read_image(path, **keywords)

    monkeypatch.setattr("tenet.data.folders.read_image", counted)
    batches = read(ClassFolder(tmp_path), batch_size=3)
    next(batches)
    next(batches)
    # The first image is read twice: once for the size of them all.
    assert len(paths) <= 9 + 1
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_images_are_read_by_id_in_any_order(clean):
    folder = ClassFolder(clean)
    whole = read_whole(folder)
    ids = torch.tensor([4, 0, 4])
    (batch,) = folder.batches([ids])
    assert torch.equal(batch.images, whole.images[ids])
    assert torch.equal(batch.labels, whole.labels[ids])


def test_a_batch_that_would_fill_the_memory_is_refused(clean, monkeypatch):
    monkeypatch.setattr("tenet.data.folders.MAX_BATCH_BYTES", 2 * 4 * 6 * 5 * 3)
    assert len(read_whole(ClassFolder(clean), batch_size=4).images) == 6
    with pytest.raises(DatasetError, match=r"batch_size=5 images of 6 x 5 pixels.*lower it"):
        read_whole(ClassFolder(clean), batch_size=5)


def test_the_fingerprint_changes_with_the_files_and_the_settings(clean):
    before = ClassFolder(clean).fingerprint()
    assert ClassFolder(clean).fingerprint() == before
    assert ClassFolder(clean, crop=2).fingerprint() != before
    picture(200).save(clean / "n02" / "val_7.png")
    assert ClassFolder(clean).fingerprint() != before
