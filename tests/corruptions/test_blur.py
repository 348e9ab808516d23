"""Blurs and the elastic transform against slow or independent implementations."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from tenet.corruptions.blur import (
    defocus_blur,
    disk,
    glass_blur,
    inverse_affine,
    motion_blur,
    neighbour_sources,
    sample,
    smear,
)
from tenet.corruptions.random import Draws, image_keys


def draws(count: int) -> Draws:
    return Draws(image_keys(torch.arange(count), seed=0, corruption="fog", severity=1))


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Replay(Draws):
    """Draws that return given numbers."""

    def __init__(self, given: torch.Tensor) -> None:
        self.given = given

    def integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        return self.given

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return self.given


@pytest.mark.parametrize("boundary", ["mirror", "reflect"])
def test_sample_is_scipys_linear_interpolation(boundary):
    image, positions = noise(1, 3, 9, 12), noise(1, 9, 12, 2) * 30 - 10
    ours = sample(image, positions, boundary=boundary)[0]
    for channel, result in zip(image[0], ours, strict=True):
        coordinates = positions[0].permute(2, 0, 1).flip(0).numpy()
        scipys = ndimage.map_coordinates(channel.numpy(), coordinates, order=1, mode=boundary)
        np.testing.assert_allclose(result.numpy(), scipys, atol=1e-9)


def official_disk(radius: int, sigma: float) -> np.ndarray:
    """The array of the official code, blurred with a mirrored border as OpenCV does."""
    axis = np.arange(-8, 9) if radius <= 8 else np.arange(-radius, radius + 1)
    inside = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float64)
    taps = np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)
    weights = np.exp(-0.5 * (taps / sigma) ** 2)
    blurred = inside / inside.sum()
    for each in (0, 1):
        blurred = ndimage.correlate1d(blurred, weights / weights.sum(), axis=each, mode="mirror")
    return blurred


def test_disk_is_a_point_below_radius_1():
    np.testing.assert_allclose(disk(0.3, 0.01), [[1]], atol=1e-12)


@pytest.mark.parametrize(
    ("radius", "sigma", "weight"), [(3, 0.1, 1), (6, 0.5, 1), (8, 0.5, 1.01298), (10, 0.5, 1.01079)]
)
@pytest.mark.parametrize(("height", "width"), [(224, 224), (40, 65)])
def test_defocus_is_the_convolution_with_the_official_disk(radius, sigma, weight, height, width):
    kernel = official_disk(radius, sigma)
    assert disk(float(radius), sigma).sum() == pytest.approx(kernel.sum()) == pytest.approx(weight, abs=1e-5)
    image = noise(2, 3, height, width)
    ours = defocus_blur(image, radius=float(radius), antialias_sigma=sigma)
    expected = ndimage.correlate(image[1, 2].numpy(), kernel, mode="mirror")
    np.testing.assert_allclose(ours[1, 2].numpy(), expected, atol=1e-9)


def glass_oracle(height: int, width: int, offsets: list, reach: int) -> list[int]:
    """Pixel by pixel, from the bottom right: each pixel takes the current value of its neighbour."""
    values = np.arange(height * width).reshape(height, width)
    for row in range(height - reach, reach, -1):
        for column in range(width - reach, reach, -1):
            dy, dx = offsets[0][row][column], offsets[1][row][column]
            values[row, column] = values[row + dy, column + dx]
    return values.flatten().tolist()


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_glass_shuffle_is_the_sequential_pass(reach):
    offsets = draws(6).integers(-reach, reach, 2, 15, 12)
    sources = neighbour_sources(15, 12, draws=Replay(offsets), reach=reach)
    for image, result in zip(offsets.tolist(), sources.tolist(), strict=True):
        assert result == glass_oracle(15, 12, image, reach)


def test_glass_blur_leaves_two_rows_and_columns_at_the_top_left():
    image = (noise(2, 3, 32, 32) * 255).floor() / 255
    moved = (glass_blur(image, draws=draws(2), sigma=0.05, reach=1.0, passes=1.0) != image).any(dim=1)
    assert not moved[:, :2].any()
    assert not moved[:, :, :2].any()
    assert moved[:, 2:, 2:].double().mean() > 0.6


def test_smear_moves_light_from_the_side_that_the_angle_points_to():
    image = torch.zeros(3, 1, 9, 9, dtype=torch.float64)
    image[:, :, 4, 4] = 1.0
    angles = torch.tensor([0.0, math.pi / 2, math.pi / 4], dtype=torch.float64)
    right, down, diagonal = smear(image, angles=angles, radius=3.0, sigma=1.0)[:, 0]
    weights = torch.exp(-0.5 * torch.arange(5).double() ** 2)
    weights /= weights.sum()
    torch.testing.assert_close(right[4, :5].flip(0), weights, atol=1e-4, rtol=0)
    torch.testing.assert_close(down[:5, 4].flip(0), weights, atol=1e-4, rtol=0)
    assert (diagonal[:5, :5].flip(0, 1).diagonal() > 0).sum() >= 3
    assert right.sum() == pytest.approx(1)


def test_motion_blur_of_a_flat_image_is_flat():
    image = torch.full((2, 3, 16, 16), 100 / 255, dtype=torch.float64)
    blurred = motion_blur(image, draws=draws(2), radius=6.0, sigma=2.0)
    assert torch.equal(blurred, image)


def test_affine_map_sends_moved_corners_back_to_the_square():
    moves = torch.tensor([[[1, 2], [-2, 1], [3, -1]], [[0, 0], [0, 0], [0, 0]]]).double()
    x, y = inverse_affine(32, 32, draws=Replay(moves), shift=3.0)
    for (dx, dy), corner in zip(moves[0].long().tolist(), [(26, 26), (26, 6), (6, 6)], strict=True):
        row, column = corner[1] + dy, corner[0] + dx
        assert (x[0, row, column].item(), y[0, row, column].item()) == pytest.approx(corner)
    torch.testing.assert_close(x[1], torch.arange(32).double().expand(32, -1))
    torch.testing.assert_close(y[1], torch.arange(32).double()[:, None].expand(-1, 32))


def test_affine_maps_have_no_drift():
    x, y = inverse_affine(32, 32, draws=draws(2000), shift=2.5)
    assert abs(x[:, 16, 16].mean() - 16) < 0.2
    assert abs(y[:, 16, 16].mean() - 16) < 0.2
    assert x[:, 16, 16].std() > 0.8
