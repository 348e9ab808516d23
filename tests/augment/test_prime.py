"""PRIME: the published values of its primitives and of a whole pass, and its draws."""

import pytest
import torch

from tenet.augment import Prime
from tenet.augment.prime import PrimeStep, mix_chains
from tenet.augment.prime_primitives import (
    ColourDraw,
    DiffeoDraw,
    FilterDraw,
    change_colours,
    deform,
    displacement,
    filter_spectrum,
    temperature_range,
)
from tests import golden

VALUES = golden.load("prime.npz")
IMAGES = VALUES["images"].permute(0, 3, 1, 2).contiguous()
PIXELS = IMAGES.float() / 255


def assert_close(actual, expected, tolerance=1e-5):
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("case", ["filter/sigma_0.3", "filter/sigma_4.0"])
def test_filters_are_the_published_ones(case):
    draw = FilterDraw(float(case.rpartition("_")[2]), VALUES[f"{case}/normal"])
    assert_close(filter_spectrum(PIXELS, draw), VALUES[f"{case}/images"], tolerance=2e-5)


@pytest.mark.parametrize(
    ("case", "tolerance"), [("all_frequencies", 1e-5), ("cut_100", 2e-5), ("band", 2e-4)]
)
def test_colour_changes_are_the_published_ones(case, tolerance):
    case = f"colour/{case}"
    normal, expected = VALUES[f"{case}/normal"], VALUES[f"{case}/images"]
    draw = ColourDraw(float(VALUES[f"{case}/temperature"]), int(VALUES[f"{case}/first_frequency"]), normal)
    assert_close(change_colours(PIXELS[: len(expected)], draw), expected, tolerance)


@pytest.mark.parametrize("case", ["diffeo/smooth", "diffeo/fine"])
def test_deformations_are_the_published_ones(case):
    temperature = float(VALUES[f"{case}/temperature64"])
    draw = DiffeoDraw(temperature, VALUES[f"{case}/normal_x"], VALUES[f"{case}/normal_y"])
    expected = torch.stack([VALUES[f"{case}/displacement_x"], VALUES[f"{case}/displacement_y"]])
    assert_close(displacement(draw, size=32), expected, tolerance=2e-5)
    assert_close(deform(PIXELS[:2], draw), VALUES[f"{case}/images"], tolerance=2e-5)


def test_temperatures_have_the_published_range():
    for size, cut, lowest, highest in VALUES["diffeo/temperature_range64"].tolist():
        assert temperature_range(int(size), int(cut)) == pytest.approx(
            (lowest, max(lowest, highest)), rel=1e-6
        )


def published_steps(view):
    depth = VALUES[f"module/{view}/depth"]
    for step in range(3):
        values = {key.removeprefix(f"module/{view}/step_{step}/"): value for key, value in VALUES.items()}
        choice = values["choice"].masked_fill(step >= depth, -1)
        cut = int(values["diffeo/cut"])
        lowest, highest = temperature_range(32, cut)
        temperature = lowest + float(values["diffeo/beta_temperature"]) * (highest - lowest)
        yield PrimeStep(
            choice,
            DiffeoDraw(temperature, values["diffeo/normal_x"], values["diffeo/normal_y"]),
            ColourDraw(float(values["colour/temperature"]), 1, values["colour/normal"][choice == 1]),
            FilterDraw(float(values["filter/sigma"]), values["filter/normal"][choice == 2]),
        )


def test_a_whole_pass_is_the_published_one():
    views = [PIXELS[:3]]
    for view in ("view_1", "view_2"):
        weights, blend = VALUES[f"module/{view}/weights"], VALUES[f"module/{view}/blend"]
        views.append(mix_chains(PIXELS[:3], list(published_steps(view)), weights=weights, blend=blend))
    mean, std = (VALUES[f"module/{name}"][:, None, None] for name in ("mean", "std"))
    assert_close((torch.cat(views) - mean) / std, VALUES["module/output"], tolerance=2e-4)


def test_draws_depend_on_the_generator_alone_and_images_differ():
    def changed(seed, images=IMAGES):
        return Prime().change(images, generator=torch.Generator().manual_seed(seed))

    first = changed(0)
    torch.manual_seed(1)
    assert torch.equal(changed(0), first)
    assert not torch.equal(changed(1), first)
    assert len(changed(0, IMAGES[:1].expand(16, -1, -1, -1)).unique(dim=0)) == 16
    assert first.min() >= 0
    assert first.max() <= 1


def test_bands_and_images_of_other_sizes_work():
    prime = Prime(colour_cut=500, colour_temperature=0.05, colour_bandwidth=20, diffeo_cut=500)
    images = torch.randint(256, (2, 3, 48, 48), dtype=torch.uint8)
    assert prime.view(images, generator=torch.Generator().manual_seed(0)).shape == images.shape
    with pytest.raises(ValueError, match="needs square images, not 48x32"):
        prime.change(images[:, :, :32], generator=torch.Generator())
