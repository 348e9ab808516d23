"""Truncated files and files with flipped bits: the loaded content is always what was saved, or the file is refused."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tenet.errors import CheckpointError, StorageError
from tenet.files.atomic import remove_leftovers, write_atomically
from tenet.files.weights import checksum, holds_weights, load_weights, save_weights
from tenet.run.weights import find_weights
from tenet.training.checkpoint import Checkpoints


def make_model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model(torch.randn(2, 3, 8, 8))
    return model


def make_state(step: int) -> dict[str, Any]:
    model = make_model(step)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    return {
        **state,
        "step": step,
        "metrics": {"train/loss": 0.5},
        "means": {"loss": [1.0, 2.0]},
        "counters": {},
    }


def flipped(content: bytes) -> Iterator[bytes]:
    """Flip one bit at a time: in each of the first and last 32 bytes, and in every 31st byte between them."""
    for place in [*range(32), *range(32, len(content) - 32, 31), *range(len(content) - 32, len(content))]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        yield bytes(damaged)


def cut(content: bytes) -> Iterator[bytes]:
    yield from (content[:size] for size in [*range(0, len(content), 97), len(content) - 1])


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flipped, cut])
def test_a_damaged_checkpoint_is_refused_or_loads_unchanged(
    tmp_path: Path, damage: Callable[[bytes], Iterator[bytes]]
) -> None:
    checkpoints = Checkpoints(tmp_path)
    saved = make_state(1)
    checkpoints.save(saved)
    refused, unharmed = [], 0
    for content in damage(checkpoints.last.read_bytes()):
        checkpoints.last.write_bytes(content)
        try:
            loaded = checkpoints.load()
        except CheckpointError as error:
            refused.append(str(error))
        else:
            unharmed += 1
            assert checksum(loaded) == checksum(saved)
    assert all(str(checkpoints.last) in line and "start again (rerun=true)" in line for line in refused)
    assert len(refused) > unharmed, "only the padding between tensors may be damaged"
    assert damage is flipped or unharmed == 0


@pytest.mark.parametrize("damage", [flipped, cut])
def test_damaged_weights_are_refused_or_load_unchanged(
    tmp_path: Path, damage: Callable[[bytes], Iterator[bytes]]
) -> None:
    path, model = tmp_path / "weights.safetensors", make_model(1)
    save_weights(model, path)
    refused, unharmed = [], 0
    for content in damage(path.read_bytes()):
        path.write_bytes(content)
        other = make_model(2)
        try:
            load_weights(other, path)
        except CheckpointError as error:
            refused.append(str(error))
        else:
            unharmed += 1
            assert checksum(other.state_dict()) == checksum(model.state_dict())
    assert all(str(path) in line for line in refused)
    assert len(refused) > 9 * unharmed


def test_the_previous_checkpoint_is_used_and_if_both_are_damaged_the_message_names_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(make_state(step))
    checkpoints.last.write_bytes(checkpoints.last.read_bytes()[:-100])
    found = checkpoints.find()
    assert found is not None
    assert (found.path, found.content["step"]) == (checkpoints.previous, 1)
    (warning,) = caplog.messages
    assert "checkpoint.pt can't be read" in warning
    assert f"continuing from the one before, {checkpoints.previous}" in warning
    checkpoints.previous.write_bytes(b"")
    with pytest.raises(
        CheckpointError, match=r"(?s)checkpoint\.pt can't.*checkpoint-previous\.pt can't.*rerun=true"
    ):
        checkpoints.load()


def test_the_evaluation_of_an_unfinished_run_takes_the_checkpoint_before_a_damaged_one(
    tmp_path: Path,
) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(make_state(step))
    checkpoints.last.write_bytes(checkpoints.last.read_bytes()[:-100])
    model = make_model(3)
    assert find_weights(tmp_path) == checkpoints.previous
    load_weights(model, checkpoints.previous)
    assert checksum(model.state_dict()) == checksum(make_state(1)["model"])


def test_a_checkpoint_of_another_layout_is_not_continued_but_can_be_evaluated(tmp_path: Path) -> None:
    content = {"step": 1, "window": torch.zeros(9)}  # as version 0.1 wrote it
    torch.save({**content, "sha256": checksum(content)}, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="written by another version"):
        Checkpoints(tmp_path, data={"training": "0123"}).find()
    found = Checkpoints(tmp_path).find()
    assert found is not None
    assert found.content["step"] == 1


def test_a_checkpoint_of_other_data_is_refused_and_the_message_names_the_part(tmp_path: Path) -> None:
    images, labels = torch.zeros(4, 2, 2, 3, dtype=torch.uint8), torch.arange(4)
    data = {"training": checksum([images, labels]), "test": checksum([images[:2], labels[:2]])}
    Checkpoints(tmp_path, data=data).save({"step": 1})
    assert Checkpoints(tmp_path, data=data).load() == {"step": 1}
    assert Checkpoints(tmp_path).load() == {"step": 1}, "without fingerprints none are compared"
    other = {**data, "training": checksum([images, labels.flip(0)])}
    with pytest.raises(
        CheckpointError, match=r"data set has changed since .*checkpoint\.pt .*\(training images or"
    ):
        Checkpoints(tmp_path, data=other).load()


def test_holds_weights_recognises_the_weights_of_a_model(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    assert not holds_weights(path, make_model(1))
    save_weights(make_model(1), path)
    assert holds_weights(path, make_model(1))
    assert not holds_weights(path, make_model(2))


def test_only_the_temporary_files_of_killed_writers_are_removed(tmp_path: Path) -> None:
    for name in (".checkpoint.pt.4711.tmp", ".lock", ".mine.tmp", "checkpoint.pt"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", ".mine.tmp", "checkpoint.pt"]


def test_a_failed_write_names_the_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")

    def write(temporary: Path) -> None:
        with temporary.open("w") as file:
            file.write("half of it")
        with Path("/dev/full").open("w") as full:
            full.write("the rest")

    with pytest.raises(
        StorageError, match=rf"^{path}: No space left on device; make room on that disk, then start"
    ):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["figures.json"]
