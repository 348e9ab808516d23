"""Packed files: the same images as from the folder, and damage that is refused wherever it is."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tenet.data import Crops, ImageFolders, ImageIndex, Images
from tenet.data.pack import main
from tenet.data.packed import TRAILER, open_pack, write_pack
from tenet.errors import DatasetError, StorageError
from tests.data.trees import CLASSES, picture, read_whole, write_classes

SETTINGS = {"resize": 6, "crop": 5, "workers": 1}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_classes(tmp_path / "tree" / "train", images=4)
    write_classes(tmp_path / "tree" / "test", offset=50)
    return tmp_path / "tree"


def pack(tree: Path) -> Path:
    file = tree.with_name("tree.pack")
    assert main([str(tree), str(file)]) == 0
    return file


def read_all(file: Path) -> None:
    for part in open_pack(file).values():
        read_whole(Images(part, Crops(crop=5)))


@pytest.mark.slow
def test_a_packed_file_gives_the_images_of_its_folder(tree, capsys):
    file = pack(tree)
    assert "12 of train, 6 of test in 3 classes" in capsys.readouterr().out
    folder, packed = (ImageFolders(path=str(path), fraction=0.5, **SETTINGS) for path in (tree, file))
    for ours, theirs in zip(packed.load(), folder.load(), strict=True):
        if theirs is None:
            continue
        assert ours.classes == theirs.classes
        for seen in (ours, ours.for_training(3)):
            expected = theirs if seen is ours else theirs.for_training(3)
            assert all(map(torch.equal, read_whole(seen), read_whole(expected)))
    assert packed.files() == (file,)
    assert folder.files() == ()


def test_one_folder_of_classes_is_packed_whole_and_split_like_the_folder(tree):
    file = pack(tree / "train")
    parts = [
        ImageFolders(path=str(path), test_fraction=0.25, **SETTINGS).read() for path in (tree / "train", file)
    ]
    for folder, packed in zip(*parts, strict=True):
        assert all(map(torch.equal, read_whole(folder), read_whole(packed)))
    assert [len(part) for part in parts[0]] == [9, 3]
    with pytest.raises(DatasetError, match=r"has no folder train; .* dataset\.test_fraction=0\.2"):
        ImageFolders(path=str(file)).read()


def test_labels_of_several_classes_are_packed(tmp_path):
    picture(3).save(tmp_path / "a.png")
    index = ImageIndex.build(tmp_path, [("a.png", [1, 0, -1])], classes=CLASSES)
    write_pack(tmp_path / "file", {"train": index})
    labels = open_pack(tmp_path / "file")["train"].labels
    assert labels.tolist() == [[1, 0, -1]]
    assert labels.dtype == torch.int8


def test_a_damaged_byte_is_refused_wherever_it_is(tree):
    file = pack(tree)
    content = file.read_bytes()
    (start, _, _, _) = TRAILER.unpack(content[-TRAILER.size :])
    generator = np.random.default_rng(0)
    for place in [*generator.integers(len(content), size=60).tolist(), 0, start, len(content) - 1]:
        damaged = bytearray(content)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(DatasetError, match="pack"):
            read_all(file)


@pytest.mark.parametrize("length", [0, 10, 300, -1])
def test_a_file_that_is_not_whole_is_refused_in_one_line(tree, length):
    file = pack(tree)
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(DatasetError, match=r"tree\.pack can't be read as packed images: .*; pack them again"):
        ImageFolders(path=str(file)).read()


def test_an_image_that_ends_outside_the_file_is_refused(tree, tmp_path, monkeypatch):
    file = pack(tree)
    whole = open_pack(file)["train"]
    whole.starts = whole.starts + 10**6
    with pytest.raises(DatasetError, match="is damaged"):
        whole.read(0)


def test_a_full_disk_and_a_missing_image_leave_no_file(tree, tmp_path, monkeypatch):
    parts = ImageFolders(path=str(tree)).parts()
    parts["train"].path(5).unlink()
    with pytest.raises(DatasetError, match="can't be read as an image"):
        write_pack(tmp_path / "file", parts)

    def is_full(*arguments, **keywords):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("tenet.data.packed._write_tables", is_full)
    with pytest.raises(StorageError, match="make room"):
        write_pack(tmp_path / "file", {"test": parts["test"]})
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_the_command_refuses_in_one_line(tree, capsys):
    file = pack(tree)
    single = tree.with_name("single")
    single.mkdir()
    (tree / "train" / "n01").rename(single / "n01")
    wrong = [
        ((tree, file), "exists; remove it"),
        ((file, "other"), "is not a folder"),
        ((single, "other"), "n01 is its only class"),
    ]
    for arguments, words in wrong:
        assert main([str(argument) for argument in arguments]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert words in error
