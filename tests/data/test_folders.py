"""Images in folders of classes, on small trees written here. Single files: test_decode.py."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from tenet.config.build import build
from tenet.data import ImageFolders
from tenet.errors import DatasetError
from tests.config.options import composed
from tests.data.trees import folder_of, picture, read_whole, write_classes


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    write_classes(tmp_path / "clean")
    return tmp_path / "clean"


def test_labels_count_through_the_classes_that_are_expected(clean):
    folder = folder_of(clean, classes=["n10", "n01", "n02"])
    assert folder.labels.tolist() == read_whole(folder).labels.tolist() == [1, 1, 2, 2, 0, 0]
    assert folder.classes == ("n10", "n01", "n02")


def test_other_files_and_hidden_ones_are_ignored(clean):
    (clean / "n01" / "._val_9.JPEG").write_bytes(b"resource fork")
    (clean / "n01" / "list.txt").write_text("list")
    (clean / "README").write_text("read me")
    (clean / ".cache").mkdir()
    folder = folder_of(clean)
    assert len(folder) == len(read_whole(folder).images) == 6


def test_every_suffix_and_subfolder_is_read_and_the_rest_is_counted_in_one_line(clean, caplog):
    formats = {
        "a.BMP": "BMP",
        "b.webp": "WEBP",
        "c.TIFF": "TIFF",
        "d.ppm": "PPM",
        "e.jfif": "JPEG",
        "f.pgm": "PPM",
    }
    (clean / "n01" / "deep" / "er").mkdir(parents=True)
    (clean / "n01" / ".ipynb_checkpoints").mkdir()
    (clean / "__MACOSX").mkdir()
    for name, kind in formats.items():
        picture(3).convert("L" if name == "f.pgm" else "RGB").save(clean / "n01" / name, format=kind)
    for hidden in (".ipynb_checkpoints/a.png", "deep/er/b.PNG"):
        picture(4).save(clean / "n01" / hidden, format="PNG")
    for name in ("a.svg", "b.svg", "labels.txt", "Thumbs.db", "desktop.ini", ".DS_Store"):
        (clean / "n01" / name).write_bytes(b"")
    (clean / "n02" / "linked").symlink_to(clean / "n01")
    picture(5).save(clean / "outside.png")
    folder = folder_of(clean)
    assert torch.bincount(folder.labels).tolist() == [2 + len(formats) + 1, 2, 2]
    assert len(read_whole(folder).images) == len(folder)
    (line,) = [record.getMessage() for record in caplog.records]
    assert (
        line
        == f"{clean}: 13 images; not read: .svg (2), files in no class's folder (1), .txt (1), links to folders (1)"
    )


def test_a_class_without_any_image_is_named_with_what_it_holds(clean):
    (clean / "n20").mkdir()
    (clean / "n20" / "a.svg").touch()
    with pytest.raises(DatasetError, match=r"n20 holds no image: it holds \.svg \(1\); unpack"):
        folder_of(clean)


@pytest.mark.parametrize("prefix", ["", "class_"])
def test_classes_that_end_in_numbers_are_ordered_by_number_with_a_word(tmp_path, caplog, prefix):
    for number in range(12):
        (tmp_path / f"{prefix}{number}").mkdir()
        picture(number).save(tmp_path / f"{prefix}{number}" / "0.png")
    folder = folder_of(tmp_path)
    assert folder.classes == tuple(f"{prefix}{number}" for number in range(12))
    assert [str(folder.classes[label]) for label in folder.labels] == [
        folder.index.path(image).parent.name for image in range(len(folder))
    ]
    first = ", ".join(f"{prefix}{number}" for number in range(3))
    assert f"ordered by number, {first} ...; torchvision's ImageFolder orders them as text" in caplog.text


def test_a_class_with_a_name_that_controls_a_terminal_is_refused(clean):
    (clean / "n01").rename(clean / "n\x1b[2J")
    with pytest.raises(DatasetError, match=r"'n\\x1b\[2J' is not a name of at most 100 printable"):
        folder_of(clean)


def test_images_of_different_sizes_are_brought_to_one_by_the_crop(clean):
    picture(5, size=(30, 20)).save(clean / "n02" / "val_0.png")
    folder = folder_of(clean, resize=8, crop=7)
    assert read_whole(folder).images.shape[1:] == (7, 7, 3)


@pytest.mark.parametrize("content", [b"", b"no image", "cut", "tga"])
def test_a_broken_image_is_named(clean, content):
    path = clean / "n02" / "val_9.JPEG"
    if content == "tga":
        picture(3).save(path, format="TGA")
    else:
        path.write_bytes(path.read_bytes()[:-40] if content == "cut" else content)
    reason = "Truncated File Read" if content == "cut" else "its format is unknown or not supported"
    with pytest.raises(DatasetError, match=rf"n02/val_9\.JPEG can't be read as an image: {reason}"):
        read_whole(folder_of(clean))


def test_an_image_of_another_size_is_named(clean):
    picture(3, size=(7, 5)).save(clean / "n10" / "val_8.png")
    with pytest.raises(DatasetError, match=r"n10/val_8\.png has 7 x 5 pixels, not 6 x 5 as the others"):
        read_whole(folder_of(clean))


def test_a_crop_larger_than_the_image_is_refused(clean):
    with pytest.raises(DatasetError, match="9 pixels can't be cut out of 6 x 5"):
        read_whole(folder_of(clean, crop=9))


def test_folders_without_classes_or_images_are_refused(clean, tmp_path):
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        folder_of(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="n01 holds no folders of classes"):
        folder_of(clean / "n01")
    (clean / "n20").mkdir()
    with pytest.raises(DatasetError, match="n20 holds no image; unpack"):
        folder_of(clean)


def test_images_are_read_by_id_in_any_order(clean):
    folder = folder_of(clean)
    whole = read_whole(folder)
    ids = torch.tensor([4, 0, 4])
    (batch,) = folder.batches([ids])
    assert torch.equal(batch.images, whole.images[ids])
    assert torch.equal(batch.labels, whole.labels[ids])


def test_a_batch_that_would_fill_the_memory_is_refused(clean, monkeypatch):
    monkeypatch.setattr("tenet.data.images.MAX_BATCH_BYTES", 4 * 6 * 5 * 3)
    assert len(read_whole(folder_of(clean), batch_size=4).images) == 6
    with pytest.raises(DatasetError, match=r"batch_size=5 images of 6 x 5 pixels.*lower it"):
        read_whole(folder_of(clean), batch_size=5)


def test_the_fingerprint_changes_with_the_files_and_the_settings(clean):
    before = folder_of(clean).fingerprint()
    assert folder_of(clean).fingerprint() == before
    assert folder_of(clean, crop=2).fingerprint() != before
    picture(200).save(clean / "n02" / "val_7.png")
    assert folder_of(clean).fingerprint() != before


@pytest.mark.parametrize(("words", "size"), [([], (6, 5)), (["dataset.upright=false"], (5, 6))])
def test_photographs_of_the_users_own_are_turned_unless_it_is_switched_off(tmp_path, words, size):
    for part in ("train", "val"):
        write_classes(tmp_path / part)
        for path in (tmp_path / part).rglob("*.*"):
            exif = Image.Exif()
            exif[0x0112] = 6  # a quarter to the right
            picture(90).save(path, exif=exif)
    words = ["dataset=images", f"dataset.path={tmp_path}", "dataset.resize=null", "dataset.crop=null", *words]
    dataset = build(composed(*words)["dataset"], key="dataset")
    assert dataset.test_source().image_size() == size
    assert read_whole(dataset.read()[0]).images.shape[1:3] == size


def test_a_second_folder_of_test_images_is_not_left_out_unsaid(tmp_path, caplog):
    for part, offset in {"train": 0, "val": 0, "test": 100}.items():
        write_classes(tmp_path / part, offset=offset)
        assert not caplog.text
    test = ImageFolders(path=str(tmp_path), resize=None, crop=None).read()[1]
    assert torch.equal(read_whole(test).images, read_whole(folder_of(tmp_path / "val")).images)
    assert f"{tmp_path}: the test images are those of val; not read: test" in caplog.text


def test_settings_that_can_not_be_of_this_folder_are_refused_with_the_remedy(tmp_path):
    train = tmp_path / "train"
    write_classes(train, images=4)
    with pytest.raises(
        DatasetError, match=rf"has a folder train, .* dataset\.path={train} dataset\.test_fraction=0\.2"
    ):
        ImageFolders(path=str(tmp_path)).load()
    write_classes(tmp_path / "val")
    with pytest.raises(
        DatasetError, match=r"test_fraction=0\.5: .* has test images of its own; leave it out"
    ):
        ImageFolders(path=str(tmp_path), test_fraction=0.5).load()
    (tmp_path / "val" / "n10").rename(tmp_path / "val" / "n11")
    with pytest.raises(DatasetError, match="n11 is none of the 3 expected classes, n01, n02, n10; remove it"):
        ImageFolders(path=str(tmp_path)).load()
    (train / "n01" / "inner").mkdir()
    for name in ("a.png", "b.png"):
        picture(1).save(train / "n01" / "inner" / name)
    with pytest.raises(DatasetError, match="inner is the only class of its 1 training images"):
        ImageFolders(path=str(train / "n01"), test_fraction=0.5).load()
    with pytest.raises(
        ValueError, match="crop=7: tests can't cut it out of images whose shorter side has resize=6"
    ):
        ImageFolders(path=str(tmp_path), resize=6, crop=7)
