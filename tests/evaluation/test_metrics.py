"""The figures of merit against hand-computed cases, loops, torchmetrics and scipy."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tenet.evaluation import metrics
from tenet.evaluation.metrics import (
    area_under_risk_coverage,
    bootstrap_interval,
    expected_calibration_error_pct,
    per_class_error_pct,
    rms_calibration_error_pct,
)
from tests import golden


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def predictions(images: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Confidences in [0.3, 1), and whether each was right: an overconfident model."""
    generator = seeded(seed)
    confidence = 0.3 + 0.7 * torch.rand(images, generator=generator)
    return confidence, torch.rand(images, generator=generator) < confidence - 0.1


# --- calibration


def calibration_by_loop(confidence: Tensor, correct: Tensor, *, images_per_bin: int) -> float:
    """The definition, image by image: full bins in order of confidence, the remainder in the last."""
    pairs = sorted(zip(confidence.tolist(), correct.tolist(), strict=True), key=lambda pair: pair[0])
    bins: list[list[tuple[float, bool]]] = [[]]
    for position, pair in enumerate(pairs):
        remaining = len(pairs) - position
        if len(bins[-1]) == images_per_bin and remaining >= images_per_bin:
            bins.append([])
        bins[-1].append(pair)
    total = 0.0
    for members in bins:
        mean_confidence = sum(pair[0] for pair in members) / len(members)
        accuracy = sum(pair[1] for pair in members) / len(members)
        total += len(members) / len(pairs) * (mean_confidence - accuracy) ** 2
    return 100 * math.sqrt(total)


def test_calibration_of_a_case_computed_by_hand() -> None:
    # Sorted: 0.2 right, 0.4 wrong | 0.6 wrong, 0.8 right, 1.0 right. Gaps of the bins' means:
    # 0.3 - 0.5 = -0.2 (2 of 5 images) and 0.8 - 2/3 = 2/15 (3 of 5).
    confidence = torch.tensor([0.8, 0.2, 1.0, 0.4, 0.6])
    correct = torch.tensor([True, True, True, False, False])
    expected = 100 * math.sqrt(2 / 5 * 0.2**2 + 3 / 5 * (2 / 15) ** 2)
    found = rms_calibration_error_pct(confidence, correct, images_per_bin=2)
    assert found == pytest.approx(expected, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(images=st.integers(1, 60), images_per_bin=st.integers(1, 70), seed=st.integers(0, 2**31))
def test_calibration_equals_the_loop_for_every_number_of_images_and_bins(
    images: int, images_per_bin: int, seed: int
) -> None:
    confidence, correct = predictions(images, seed)
    found = rms_calibration_error_pct(confidence, correct, images_per_bin=images_per_bin)
    expected = calibration_by_loop(confidence, correct, images_per_bin=images_per_bin)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_calibration_equals_torchmetrics_where_bins_of_equal_width_hold_equally_many() -> None:
    from torchmetrics.functional.classification import binary_calibration_error

    confidence = ((torch.arange(1000) + 0.5) / 1000)[torch.randperm(1000, generator=seeded())]
    correct = torch.rand(1000, generator=seeded(1)) < confidence.sqrt()
    expected = 100 * binary_calibration_error(confidence, correct.long(), n_bins=10, norm="l2").item()
    assert expected > 5
    assert rms_calibration_error_pct(confidence, correct) == pytest.approx(expected, rel=1e-4)


def test_the_bins_hold_100_images_and_the_most_confident_count_too() -> None:
    confidence, correct = predictions(950)
    expected = calibration_by_loop(confidence, correct, images_per_bin=100)
    assert rms_calibration_error_pct(confidence, correct) == pytest.approx(expected)
    # 100 sure and right, 150 sure and wrong: all the error lies in the last bin.
    confidence = torch.cat([torch.zeros(100), torch.ones(150)])
    assert rms_calibration_error_pct(confidence, torch.zeros(250).bool()) == pytest.approx(
        100 * math.sqrt(0.6)
    )


def test_a_perfectly_calibrated_model_has_no_error_and_order_does_not_matter() -> None:
    assert rms_calibration_error_pct(torch.tensor([1.0, 0.0]), torch.tensor([True, False])) == 0
    confidence, correct = predictions(500)
    shuffled = torch.randperm(500, generator=seeded(3))
    assert rms_calibration_error_pct(confidence[shuffled], correct[shuffled]) == pytest.approx(
        rms_calibration_error_pct(confidence, correct)
    )


def golden_case(name: str) -> tuple[Tensor, Tensor]:
    values = golden.load("metrics.npz")
    return values[f"{name}/confidence64"], values[f"{name}/correct"]


def test_both_rms_calibration_errors_are_the_golden_ones() -> None:
    values, case = golden.load("metrics.npz"), golden_case("ranking")
    for name, last_bin in {"rms_all_bins64": True, "rms_pixmix64": False}.items():
        found = rms_calibration_error_pct(*case, last_bin=last_bin)
        assert found == pytest.approx(100 * values[f"ranking/{name}"].item(), rel=1e-9)


def test_ece_is_the_golden_one_and_a_confidence_of_1_is_in_the_last_bin() -> None:
    values = golden.load("metrics.npz")
    for name, expected in {"calibration": "ece_15_64", "edges": "ece64"}.items():
        found = expected_calibration_error_pct(*golden_case(name))
        assert found == pytest.approx(100 * values[f"{name}/{expected}"].item(), abs=1e-7)


def test_the_area_under_risk_and_coverage_is_the_golden_one_and_ties_rank_in_order() -> None:
    found = area_under_risk_coverage(*golden_case("ranking"))
    assert found == pytest.approx(golden.load("metrics.npz")["ranking/aurc_mean64"].item(), abs=1e-12)
    tied = torch.full((2,), 0.5)
    assert area_under_risk_coverage(tied, torch.tensor([True, False])) == 0.25
    assert area_under_risk_coverage(tied, torch.tensor([False, True])) == 0.75


# --- likelihood and classes


def test_the_error_of_a_class_is_the_share_of_its_own_images() -> None:
    labels = torch.tensor([0, 0, 0, 0, 2, 2, 3])
    wrong = torch.tensor([True, False, False, False, True, True, False])
    found = per_class_error_pct(wrong, labels, classes=5)
    assert found[[0, 2, 3]].tolist() == [25, 100, 0]
    assert found[[1, 4]].isnan().all()


# --- bootstrap


def test_the_interval_agrees_with_scipy_for_one_cell() -> None:
    from scipy import stats

    errors = torch.rand(400, generator=seeded()) < 0.2
    found = bootstrap_interval(errors, level=0.9, resamples=4000, generator=seeded(1))
    expected = stats.bootstrap(
        (errors.double().numpy(),), np.mean, n_resamples=4000, confidence_level=0.9,
        method="percentile", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    # A bound's Monte Carlo error is about 2 % of the deviation 0.02.
    assert found.low == pytest.approx(expected.low, abs=0.0026)
    assert found.high == pytest.approx(expected.high, abs=0.0026)


def test_the_interval_of_many_cells_agrees_with_scipys_paired_resampling() -> None:
    from scipy import stats

    hard = torch.rand(200, generator=seeded())
    cells = torch.rand(5, 200, generator=seeded(1)) < hard
    found = bootstrap_interval(cells, resamples=3000, generator=seeded(2))
    expected = stats.bootstrap(
        tuple(cells.double().numpy()), lambda *rows, axis: np.mean([row.mean(axis) for row in rows], axis=0),
        n_resamples=3000, method="percentile", paired=True, vectorized=True, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    deviation = cells.double().mean(0).std().item() / math.sqrt(200)
    assert found == pytest.approx((expected.low, expected.high), abs=0.2 * deviation)


def test_every_image_is_drawn() -> None:
    # Of two images, each is all of a resample every fourth time.
    assert bootstrap_interval(torch.tensor([False, True]), resamples=200, generator=seeded()) == (0, 1)
    assert bootstrap_interval(torch.tensor([7.0]), resamples=10, generator=seeded()) == (7, 7)


def test_the_interval_approaches_the_normal_one() -> None:
    errors = (torch.rand(2000, generator=seeded()) < 0.3).double() * 100
    low, high = bootstrap_interval(errors, resamples=2000, generator=seeded(1))
    half = 1.96 * errors.std().item() / math.sqrt(2000)
    assert (low, high) == pytest.approx((errors.mean().item() - half, errors.mean().item() + half), abs=0.2)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    truth, trials, covered = 0.3, 200, 0
    generator = seeded()
    for _ in range(trials):
        sample = torch.rand(150, generator=generator) < truth
        low, high = bootstrap_interval(sample, level=0.8, resamples=200, generator=generator)
        covered += low <= truth <= high
    # Four deviations of a binomial share of 0.8 in 200 trials are 0.11.
    assert covered / trials == pytest.approx(0.8, abs=0.11)


def test_cells_of_the_same_images_are_resampled_together() -> None:
    errors = torch.rand(300, generator=seeded()) < 0.4
    one = bootstrap_interval(errors, generator=seeded(1))
    # Copies of one cell tell nothing new; independent draws would make the interval much narrower.
    copies = bootstrap_interval(errors.expand(75, 300), generator=seeded(1))
    assert copies == pytest.approx(one)


def test_the_interval_is_a_function_of_the_generator_and_not_of_the_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = torch.rand(3, 50, generator=seeded())
    first = bootstrap_interval(values, resamples=100, generator=seeded(1))
    assert bootstrap_interval(values, resamples=100, generator=seeded(1)) == first
    assert bootstrap_interval(values, resamples=100, generator=seeded(2)) != first
    for draws in (1, 7 * 50):
        monkeypatch.setattr(metrics, "_DRAWS_AT_ONCE", draws)
        assert bootstrap_interval(values, resamples=100, generator=seeded(1)) == first


def test_a_bootstrap_of_ten_thousand_images_never_draws_more_than_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = []
    randint = torch.randint

    def counting(high: int, shape: tuple[int, ...], **options: object) -> Tensor:
        drawn.append(math.prod(shape))
        return randint(high, shape, **options)

    monkeypatch.setattr(torch, "randint", counting)
    cells = torch.zeros(75, 10_000, dtype=torch.bool)
    assert bootstrap_interval(cells, resamples=250, generator=seeded()) == (0, 0)
    assert sum(drawn) == 250 * 10_000
    assert max(drawn) <= metrics._DRAWS_AT_ONCE


def test_the_interval_keeps_the_unit_and_widens_with_the_level() -> None:
    values = torch.rand(200, generator=seeded())
    share = bootstrap_interval(values, generator=seeded(1))
    percent = bootstrap_interval(100 * values, generator=seeded(1))
    assert percent == pytest.approx([100 * bound for bound in share], rel=1e-5)
    wider = bootstrap_interval(values, level=0.99, generator=seeded(1))
    assert wider.low < share.low < values.mean() < share.high < wider.high


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_figures_on_a_gpu_are_those_on_the_cpu() -> None:
    confidence, correct = predictions(5000)
    logits, labels = torch.randn(5000, 10, generator=seeded()), torch.arange(5000) % 7
    gpu = [tensor.cuda() for tensor in (confidence, correct, logits, labels)]
    assert rms_calibration_error_pct(gpu[0], gpu[1]) == pytest.approx(
        rms_calibration_error_pct(confidence, correct)
    )
    assert bootstrap_interval(gpu[1], generator=seeded()) == bootstrap_interval(correct, generator=seeded())
    torch.cuda.set_sync_debug_mode("error")
    try:
        by_class = per_class_error_pct(gpu[1], gpu[3], classes=10)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = per_class_error_pct(correct, labels, classes=10)
    assert torch.allclose(by_class.cpu(), expected, equal_nan=True)
