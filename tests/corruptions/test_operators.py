"""Operators, noises and colours against slow or independent implementations."""

import colorsys
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from tenet.corruptions import digital
from tenet.corruptions.digital import (
    brightness,
    jpeg_compression,
    pixelate,
    pixelate_with_matrices,
    saturate,
)
from tenet.corruptions.noise import impulse_noise, shot_noise
from tenet.corruptions.operators import apply_separable, fold, gaussian_operator, zoom_operator, zoom_sizes
from tenet.corruptions.random import Draws, image_keys


def draws(count: int) -> Draws:
    return Draws(image_keys(torch.arange(count), seed=0, corruption="fog", severity=1))


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


CPU = torch.device("cpu")


@pytest.mark.parametrize("boundary", ["nearest", "reflect", "mirror"])
@pytest.mark.parametrize(("size", "sigma"), [(32, 0.4), (20, 1.5), (8, 6.4)])
def test_gaussian_operator_is_scipys_filter(boundary, size, sigma):
    signal = noise(size)
    ours = gaussian_operator(size, sigma, 3.0, boundary, CPU) @ signal
    scipys = ndimage.gaussian_filter1d(signal.numpy(), sigma, mode=boundary, truncate=3.0)
    np.testing.assert_allclose(ours.numpy(), scipys, atol=1e-12)


def test_fold_repeats_mirrors_with_and_without_the_edge():
    indices = torch.arange(-4, 8)
    assert fold(indices, 3, boundary="nearest").tolist() == [0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2]
    assert fold(indices, 3, boundary="reflect").tolist() == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]
    assert fold(indices, 3, boundary="mirror").tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]


@pytest.mark.parametrize("zoom", [1.0, 1.02, 1.11, 1.75, 2.25])
def test_zoom_operator_is_a_crop_enlarged_by_scipy_and_trimmed(zoom):
    image = noise(32, 32)
    operator = zoom_operator(32, zoom, CPU)
    cropped, enlarged = zoom_sizes(32, zoom)
    top, trim = (32 - cropped) // 2, (enlarged - 32) // 2
    middle = image[top : top + cropped, top : top + cropped].numpy()
    scipys = ndimage.zoom(middle, zoom, order=1)[trim : trim + 32, trim : trim + 32]
    np.testing.assert_allclose(
        apply_separable(image, rows=operator, columns=operator).numpy(), scipys, atol=1e-9
    )


@pytest.mark.parametrize(("height", "width", "scale"), [(32, 32, 0.65), (28, 45, 0.9), (64, 64, 0.5)])
def test_pixelate_is_pillows_box_filter_down_and_up(height, width, scale):
    levels = (noise(2, height, width, 3) * 255).round().to(torch.uint8)
    small = int(width * scale), int(height * scale)
    for ours in (pixelate(levels, scale=scale), pixelate_with_matrices(levels, scale=scale)):
        for image, result in zip(levels, ours, strict=True):
            pillow = Image.fromarray(image.numpy()).resize(small, Image.Resampling.BOX)
            restored = pillow.resize((width, height), Image.Resampling.BOX)
            assert np.array_equal(result.numpy(), np.asarray(restored))


@pytest.mark.parametrize("quality", [80, 40, 25, 7])
def test_jpeg_compression_is_pillows(quality):
    levels = (noise(3, 37, 50, 3) * 255).to(torch.uint8)
    for image, result in zip(levels, jpeg_compression(levels, quality=float(quality)), strict=True):
        stream = BytesIO()
        Image.fromarray(image.numpy()).save(stream, format="JPEG", quality=quality)
        assert np.array_equal(result.numpy(), np.asarray(Image.open(stream)))


def test_threads_change_every_image_once(monkeypatch):
    levels = (noise(7, 16, 16, 3) * 255).to(torch.uint8)
    expected = jpeg_compression(levels, quality=30.0), pixelate(levels, scale=0.5)
    monkeypatch.setattr(digital, "VALUES_PER_WORKER", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(jpeg_compression(levels, quality=30.0), expected[0])
    assert torch.equal(pixelate(levels, scale=0.5), expected[1])


def test_saturate_and_brightness_change_one_coordinate_of_hsv():
    pixels = torch.tensor(
        [[0.2, 0.5, 0.9], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0], [1.0, 0.3, 0.3], [0.1, 0.9, 0.1]]
    )
    image = pixels.double().T.reshape(1, 3, 1, 5)
    saturated = saturate(image, factor=1.5, offset=0.1)[0, :, 0].T
    brightened = brightness(image, offset=0.2)[0, :, 0].T
    for pixel, ours, brighter in zip(pixels.tolist(), saturated.tolist(), brightened.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        assert ours == pytest.approx(
            colorsys.hsv_to_rgb(hue, min(saturation * 1.5 + 0.1, 1), value), abs=1e-6
        )
        assert brighter == pytest.approx(colorsys.hsv_to_rgb(hue, saturation, min(value + 0.2, 1)), abs=1e-6)


def test_shot_noise_has_the_mean_and_variance_of_counted_photons():
    image = torch.full((40, 3, 32, 32), 102 / 255, dtype=torch.float64)
    counts = shot_noise(image, draws=draws(40), photons=100.0) * 100
    torch.testing.assert_close(counts, counts.round())
    assert counts.mean() == pytest.approx(40, abs=0.1)
    assert counts.var() == pytest.approx(40, rel=0.03)
    assert shot_noise(torch.zeros_like(image), draws=draws(40), photons=100.0).sum() == 0


def test_impulse_noise_sets_its_share_of_values_half_to_black_half_to_white():
    levels = torch.full((40, 32, 32, 3), 128, dtype=torch.uint8)
    hit = torch.empty_like(levels)
    impulse_noise(levels, out=hit, draws=draws(40), share=0.2)
    assert (hit == 0).double().mean() == pytest.approx(0.1, abs=0.005)
    assert (hit == 255).double().mean() == pytest.approx(0.1, abs=0.005)
