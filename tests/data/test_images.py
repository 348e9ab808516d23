"""Images that stay on disk: what worker processes decode, and what the list of the files takes."""

import multiprocessing
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tenet.augment import NoAugmentation
from tenet.data import Crops, ImageIndex, Images, Subset, TrainingLoader, index_folder
from tenet.errors import DatasetError
from tests.data.trees import CLASSES, read_whole

COUNT = 30_000
CROPS = Crops(resize=8, crop=7, scale=(0.08, 1.0))


@pytest.fixture
def index(tmp_path: Path) -> ImageIndex:
    pixels = np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype=np.uint8)
    for image in range(21):
        folder = tmp_path / CLASSES[image // 7]
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels[image:, : 60 - image]).save(folder / f"{image:02d}.png")
    return index_folder(tmp_path)


def epoch_of(images: Images, *, rank: int = 0, processes: int = 1, epoch: int = 1, start: int = 0):
    loader = TrainingLoader(
        images, augmentation=NoAugmentation(), batch_size=8, seed=5, rank=rank, processes=processes
    )
    return [(batch.images, batch.labels) for batch in loader.epoch(epoch, start=start)]


def test_any_number_of_workers_gives_the_same_images_from_any_batch_on(index, monkeypatch):
    monkeypatch.setattr("tenet.data.images.PART", 3)
    whole = epoch_of(Images(index, CROPS).for_training(5))
    assert [len(labels) for _, labels in whole] == [8, 8, 5]
    for workers in (1, 3):
        rest = epoch_of(Images(index, CROPS, workers=workers).for_training(5), start=1)
        for (images, labels), (expected, expected_labels) in zip(rest, whole[1:], strict=True):
            assert torch.equal(images, expected)
            assert torch.equal(labels, expected_labels)


def test_the_shares_of_two_processes_are_cut_as_in_one_process(index):
    source = Images(index, CROPS).for_training(5)
    whole = epoch_of(source)
    shares = [epoch_of(source, rank=rank, processes=2) for rank in range(2)]
    for step, (images, _) in enumerate(whole):
        for rank in range(2):
            assert torch.equal(shares[rank][step][0], images[rank::2])


def test_epochs_and_seeds_cut_differently_and_tests_do_not(index):
    source = Images(index, CROPS)
    ids = torch.arange(len(index))
    by_epoch = [next(source.for_training(5).batches([ids], epoch=epoch)).images for epoch in (0, 1)]
    other_seed = next(source.for_training(6).batches([ids])).images
    assert not torch.equal(by_epoch[0], by_epoch[1])
    assert not torch.equal(by_epoch[0], other_seed)
    assert torch.equal(read_whole(source).images, next(source.batches([ids], epoch=1)).images)


def test_a_part_of_a_source_is_read_and_cut_as_the_whole(index):
    ids = torch.tensor([20, 3, 3])
    part = Subset(Images(index, CROPS), ids)
    assert len(part) == 3
    assert part.labels.tolist() == [2, 0, 0]
    (batch,) = part.for_training(5).batches([torch.tensor([2, 0])], epoch=4)
    (expected,) = Images(index, CROPS).for_training(5).batches([ids[[2, 0]]], epoch=4)
    assert torch.equal(batch.images, expected.images)
    assert part.fingerprint() != Subset(part.source, torch.tensor([20, 3, 4])).fingerprint()
    assert part.image_size() == (7, 7)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_vanished_is_named_in_one_line_and_no_worker_stays(index, workers):
    index.path(11).unlink()
    source = Images(index, CROPS, workers=workers)
    with pytest.raises(DatasetError) as caught:
        read_whole(source)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{index.path(11)} can't be read as an image: ")
    assert "No such file" in line
    del caught
    assert multiprocessing.active_children() == []


def test_memory_that_runs_out_in_a_worker_is_one_line(index, monkeypatch):
    def fails(content, **keywords):
        raise MemoryError

    monkeypatch.setattr("tenet.data.images.decode", fails)
    with pytest.raises(DatasetError, match=r"00\.png: memory ran out while .* lower dataset\.workers$"):
        read_whole(Images(index, CROPS, workers=1))


def test_shared_memory_that_runs_out_ends_the_run_and_does_not_hang_it(index, monkeypatch):
    def fails(tensor):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>")

    monkeypatch.setattr(torch.Tensor, "share_memory_", fails)
    with pytest.raises(DatasetError, match=r"/dev/shm.* --shm-size=1g.* lower dataset\.workers$"):
        read_whole(Images(index, CROPS, workers=1))


def test_an_image_takes_its_path_and_16_bytes_and_listing_it_not_much_more():
    def entries():
        for image in range(COUNT):
            yield f"n{image // 1280:08d}/n{image // 1280:08d}_{image % 1280}.JPEG", image // 1280

    tracemalloc.start()
    index = ImageIndex.build(Path("/data"), entries(), classes=[str(label) for label in range(100)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index) == COUNT
    assert index.nbytes < 60 * COUNT
    assert peak < 150 * COUNT
    assert index.name(COUNT - 1) == "n00000023/n00000023_559.JPEG"
    assert index.labels[-1] == 23
