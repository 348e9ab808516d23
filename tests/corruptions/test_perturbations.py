"""CIFAR-P: the reader on files written here, and flips against a loop."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tenet.corruptions.perturbations import (
    EXTRA_PERTURBATIONS,
    PERTURBATIONS,
    PerturbationArchive,
    flip_probability,
    is_noise,
    mean_flip_probability,
)
from tenet.errors import DatasetError

VIDEOS = 3


def videos(frames: int, *, first: int = 0) -> np.ndarray:
    """A pixel tells its video and its frame."""
    numbers = np.arange(VIDEOS * frames, dtype=np.uint8).reshape(VIDEOS, frames) + np.uint8(first)
    return np.broadcast_to(numbers[:, :, None, None, None], (VIDEOS, frames, 4, 5, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "translate.npy", videos(16))
    np.save(tmp_path / "gaussian_noise.npy", videos(31, first=100))
    np.save(tmp_path / "shear.npy", videos(31))
    np.save(tmp_path / "labels.npy", np.zeros(VIDEOS, dtype=np.int64))
    return tmp_path


# --- the reader


def test_names_are_those_present_with_the_ones_of_the_mean_first(folder: Path) -> None:
    assert PerturbationArchive(folder).names == ("gaussian_noise", "translate", "shear")


def test_sequences_are_read_only_views_of_the_file(folder: Path) -> None:
    sequences = PerturbationArchive(str(folder)).sequences("translate")
    assert isinstance(sequences, np.memmap)
    assert not sequences.flags.writeable
    assert sequences.dtype == np.uint8
    assert sequences.shape == (VIDEOS, 16, 4, 5, 3)
    assert sequences[2, 15, 0, 0].tolist() == [47, 47, 47]


def test_a_perturbation_that_is_absent_or_unknown_is_named(folder: Path) -> None:
    archive = PerturbationArchive(folder)
    with pytest.raises(DatasetError, match=r"tilt\.npy is missing; present are gaussian_noise"):
        archive.sequences("tilt")
    with pytest.raises(ValueError, match="did you mean 'translate'"):
        archive.sequences("translte")


def test_a_folder_without_perturbations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no <perturbation>\.npy"):
        PerturbationArchive(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (videos(16).astype(np.float32), "holds float32"),
        (videos(16).transpose(0, 1, 4, 2, 3), r"holds uint8 \[3, 16, 3, 4, 5\]"),
        (videos(16)[0], r"holds uint8 \[16, 4, 5, 3\]"),
        (videos(16)[:, :1], "holds 3 videos of 1 frames"),
        (videos(16)[:2], r"holds 2 videos but gaussian_noise\.npy 3"),
        (np.zeros((0, 16, 4, 5, 3), dtype=np.uint8), "holds 0 videos of 16 frames"),
    ],
)
def test_files_of_another_type_shape_or_number_are_refused(
    folder: Path, sequences: np.ndarray, message: str
) -> None:
    np.save(folder / "translate.npy", sequences)
    with pytest.raises(DatasetError, match=rf"translate\.npy {message}"):
        PerturbationArchive(folder)


def test_a_file_cut_short_or_of_another_format_or_pickled_is_refused(folder: Path) -> None:
    path = folder / "translate.npy"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:20], b"", b"PK\x03\x04 a zip", b"not an array"):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"translate\.npy is not a whole plain \.npy file"):
            PerturbationArchive(folder)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"translate\.npy is not a whole plain \.npy file"):
        PerturbationArchive(folder)


# --- flips


def flips_by_loop(predictions: Tensor, *, noise: bool) -> float:
    """The mean over videos of each video's share of frames that differ from their reference."""
    shares = []
    for video in predictions.tolist():
        reference, flips = video[0], 0
        for frame in video[1:]:
            flips += frame != reference
            if not noise:
                reference = frame
        shares.append(flips / (len(video) - 1))
    return sum(shares) / len(shares)


def test_flips_of_a_case_computed_by_hand() -> None:
    predictions = torch.tensor([[3, 5, 5, 3, 3], [1, 1, 1, 1, 1]])
    # From the frame before: 3-5 and 5-3 of 8 steps. From the first frame: both 5s, too, but not the last 3s.
    assert flip_probability(predictions, noise=False) == 2 / 8
    assert flip_probability(predictions, noise=True) == 2 / 8
    predictions = torch.tensor([[3, 5, 5, 5, 5]])
    assert flip_probability(predictions, noise=False) == 1 / 4
    assert flip_probability(predictions, noise=True) == 1


@pytest.mark.parametrize("noise", [False, True])
def test_flips_equal_the_loop(noise: bool) -> None:
    predictions = torch.randint(3, (20, 31), generator=torch.Generator().manual_seed(0))
    expected = flips_by_loop(predictions, noise=noise)
    assert flip_probability(predictions, noise=noise) == pytest.approx(expected)
    assert flips_by_loop(predictions, noise=not noise) != pytest.approx(expected)


@pytest.mark.parametrize("shape", [(0, 31), (4, 1), (4, 0)])
def test_flips_need_a_sequence_of_two_frames(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"predictions of shape \[{shape[0]}, {shape[1]}\]"):
        flip_probability(torch.zeros(shape, dtype=torch.int64), noise=False)


def test_noises_are_told_by_their_names() -> None:
    noises = [name for name in PERTURBATIONS + EXTRA_PERTURBATIONS if is_noise(name)]
    assert noises == [
        "gaussian_noise", "shot_noise", "speckle_noise", "gaussian_noise_2", "gaussian_noise_3",
        "shot_noise_2", "shot_noise_3", "speckle_noise_2", "speckle_noise_3",
    ]  # fmt: skip


def test_the_mean_is_over_the_ten_perturbations_and_none_where_one_is_missing() -> None:
    assert len(PERTURBATIONS) == 10
    probabilities = {name: index / 100 for index, name in enumerate(PERTURBATIONS)}
    assert mean_flip_probability({**probabilities, "snow": 0.9}) == pytest.approx(0.045)
    del probabilities["tilt"]
    assert mean_flip_probability(probabilities) is None
    assert mean_flip_probability(probabilities, ["rotate", "scale"]) == pytest.approx(0.08)
    assert mean_flip_probability(probabilities, []) is None
