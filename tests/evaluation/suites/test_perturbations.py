"""CIFAR-P: the reader on files written here, and flips against a loop."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tenet.data import ImageArrays
from tenet.errors import DatasetError
from tenet.evaluation.measures import Predictions
from tenet.evaluation.suites.perturbations import (
    EXTRA_PERTURBATIONS,
    PERTURBATIONS,
    Perturbations,
    flip_probability,
    is_noise,
)
from tests.data.trees import read_whole

VIDEOS = 3


def videos(frames: int, *, first: int = 0) -> np.ndarray:
    """All pixels of a frame are its number, counted over all videos."""
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


def test_cells_are_the_files_present_with_those_of_the_mean_first(folder: Path) -> None:
    suite = Perturbations(folder)
    assert [cell.name for cell in suite.cells()] == [
        "perturbation/gaussian_noise",
        "perturbation/translate",
        "perturbation/shear",
    ]
    assert len(suite) == 3


def test_a_cell_is_all_frames_video_by_video(folder: Path) -> None:
    (cell,) = (cell for cell in Perturbations(folder).cells() if cell.name == "perturbation/translate")
    images, _ = read_whole(cell.source, batch_size=7)
    assert images.shape == (VIDEOS * 16, 4, 5, 3)
    assert images[:, 0, 0, 0].tolist() == list(range(VIDEOS * 16))


def test_a_folder_without_perturbations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no <perturbation>\.npy"):
        Perturbations(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("array", "message"),
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
    folder: Path, array: np.ndarray, message: str
) -> None:
    np.save(folder / "translate.npy", array)
    with pytest.raises(DatasetError, match=rf"translate\.npy {message}"):
        Perturbations(folder)


def test_a_file_cut_short_or_of_another_format_or_pickled_is_refused(folder: Path) -> None:
    path = folder / "translate.npy"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:20], b"", b"PK\x03\x04 a zip", b"not an array"):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"translate\.npy is not a whole plain \.npy file"):
            Perturbations(folder)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"translate\.npy is not a whole plain \.npy file"):
        Perturbations(folder)


def clean(images: int, size: tuple[int, int] = (4, 5)) -> ImageArrays:
    return ImageArrays(
        torch.zeros(images, *size, 3, dtype=torch.uint8), torch.zeros(images, dtype=torch.int64)
    )


def test_videos_that_cannot_be_of_the_test_images_are_refused(folder: Path) -> None:
    assert len(Perturbations(folder, test=clean(VIDEOS))) == 3
    with pytest.raises(DatasetError, match="frames of 5 x 4 pixels, but the data set's images are 4 x 5"):
        Perturbations(folder, test=clean(VIDEOS, size=(5, 4)))
    with pytest.raises(DatasetError, match=r"holds 3 videos, but the data set has 2 test images"):
        Perturbations(folder, test=clean(2))


def test_videos_of_a_part_of_the_test_images_are_said(folder: Path) -> None:
    predictions = {
        cell.name: Predictions(torch.zeros(len(cell.source), dtype=torch.int64), *[torch.zeros(1)] * 4)
        for cell in Perturbations(folder).cells()
    }
    said = "CIFAR-P videos of 3 of the 4 test images"
    assert said in Perturbations(folder, test=clean(4)).summarize(predictions).lines
    assert said not in Perturbations(folder, test=clean(3)).summarize(predictions).lines


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


def test_noises_are_known_by_their_names() -> None:
    noises = [name for name in PERTURBATIONS + EXTRA_PERTURBATIONS if is_noise(name)]
    assert noises == [
        "gaussian_noise", "shot_noise", "speckle_noise", "gaussian_noise_2", "gaussian_noise_3",
        "shot_noise_2", "shot_noise_3", "speckle_noise_2", "speckle_noise_3",
    ]  # fmt: skip


def test_the_summary_has_flips_by_perturbation_and_their_mean(tmp_path: Path) -> None:
    assert len(PERTURBATIONS) == 10
    for name in (*PERTURBATIONS, "shear"):
        np.save(tmp_path / f"{name}.npy", videos(3))
    suite = Perturbations(tmp_path)
    still = torch.zeros(9, dtype=torch.int64)
    moving = torch.tensor([0, 1, 1, 0, 0, 0, 0, 0, 0])
    predictions = {
        f"perturbation/{name}": Predictions(moving if name == "tilt" else still, *[still] * 4)
        for name in PERTURBATIONS
    }
    # Shear, which flips most, never enters the mean.
    moved = torch.tensor([0, 1, 0] * 3)
    predictions["perturbation/shear"] = Predictions(moved, *[still] * 4)
    # Tilt flips once in two steps of three videos.
    summary = suite.summarize(predictions)
    assert summary.content["perturbations"]["flip_pct"]["tilt"] == pytest.approx(100 / 6)
    assert summary.content["perturbations"]["mean_flip_pct"] == pytest.approx(10 / 6)
    assert summary.content["perturbations"]["flip_pct"]["shear"] == 100
    assert summary.metrics["perturbation/tilt/flip_pct"] == pytest.approx(100 / 6)
    assert summary.metrics["perturbation/mean_flip_pct"] == pytest.approx(10 / 6)
    assert summary.lines == ["CIFAR-P mean flip probability 1.67 %"]
    assert suite.describe("perturbation/tilt", predictions["perturbation/tilt"]).endswith("flips 16.67 %")
    (tmp_path / "rotate.npy").unlink()
    summary = Perturbations(tmp_path).summarize(predictions)
    assert summary.content["perturbations"]["mean_flip_pct"] is None, "nine of the ten"
    assert "perturbation/mean_flip_pct" not in summary.metrics
    each, missing = summary.lines
    assert "tilt 16.67 %" in each
    assert "rotate" not in each
    assert missing == "no CIFAR-P mean: rotate missing"
