"""The properties that `corrupt` has for every corruption."""

import subprocess
import sys

import pytest
import torch

from tenet.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, corrupt
from tenet.corruptions.generator import (
    DETERMINISTIC,
    ON_LEVELS,
    RANDOM,
    RANDOM_ON_LEVELS,
    GeneratedCorruptions,
    check_channels_last,
)
from tenet.corruptions.names import BAR_CORRUPTIONS, CIFAR_BAR
from tenet.corruptions.parameters import CIFAR, FIELDS, IMAGENET, TINY_IMAGENET, settings
from tenet.data import ImageArrays
from tests.data.trees import read_whole

NAMES = CORRUPTIONS + EXTRA_CORRUPTIONS


def photographs(count: int, height: int, width: int) -> torch.Tensor:
    """Smooth colour gradients with an edge, which every corruption changes."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    images[:, :, height // 3 : height // 2, width // 3 :] *= 0.3
    return (images * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def test_names_are_the_15_of_the_mean_and_4_more():
    assert len(CORRUPTIONS) == 15
    assert len(EXTRA_CORRUPTIONS) == 4
    assert CORRUPTIONS[0] == "gaussian_noise"
    assert CORRUPTIONS[-1] == "jpeg_compression"
    generated = {*RANDOM, *DETERMINISTIC, *ON_LEVELS, *RANDOM_ON_LEVELS}
    assert generated == {*NAMES, *BAR_CORRUPTIONS}


def test_importing_the_names_does_not_import_torch():
    code = "import sys, tenet.corruptions as c; c.CORRUPTIONS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("table", [CIFAR, TINY_IMAGENET, IMAGENET])
def test_every_table_has_five_severities_of_every_corruption(table):
    assert set(table) == set(FIELDS) == set(NAMES)
    for name, cells in table.items():
        assert [len(cell) for cell in cells] == [len(FIELDS[name])] * len(SEVERITIES), name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 28), (37, 50)])
def test_result_does_not_depend_on_the_batch(name, height, width, monkeypatch):
    images, ids = photographs(5, height, width), torch.tensor([7, 0, 123_456, 3, 2**40])
    whole = corrupt(images, corruption=name, severity=5, seed=3, image_ids=ids)
    assert whole.shape == images.shape
    assert whole.dtype == torch.uint8
    order = torch.tensor([4, 1, 2])
    subset = corrupt(images[order], corruption=name, severity=5, seed=3, image_ids=ids[order])
    assert torch.equal(subset, whole[order])
    monkeypatch.setitem(sys.modules["tenet.corruptions.generator"].CHUNK_VALUES, "cpu", 1)
    rank_zero_first = corrupt(images, corruption=name, severity=5, seed=3, image_ids=ids)
    assert torch.equal(rank_zero_first, whole)


def test_images_are_numbered_from_zero_by_default():
    images = photographs(3, 32, 32)
    numbered = corrupt(images, corruption="snow", severity=2, image_ids=torch.arange(3))
    assert torch.equal(corrupt(images, corruption="snow", severity=2), numbered)


@pytest.mark.parametrize("name", sorted({*RANDOM} - {"transverse_chromatic_abberation"}))
def test_draws_change_with_the_seed_and_the_image_id(name):
    size = 32 if name in {*NAMES, *CIFAR_BAR} else 224
    images = photographs(1, size, size).expand(2, -1, -1, -1)
    first, second = corrupt(images, corruption=name, severity=4)
    assert not torch.equal(first, second)
    assert not torch.equal(corrupt(images, corruption=name, severity=4, seed=1)[0], first)


@pytest.mark.parametrize("name", [*DETERMINISTIC, *ON_LEVELS])
def test_deterministic_corruptions_do_not_depend_on_the_seed(name):
    images = photographs(2, 32, 32)
    first = corrupt(images, corruption=name, severity=4)
    assert torch.equal(corrupt(images, corruption=name, severity=4, seed=1), first)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("height", "width"), [(28, 28), (64, 64), (224, 224), (40, 32)])
def test_other_sizes_are_corrupted_too(name, height, width):
    images = photographs(1, height, width)
    corrupted = corrupt(images, corruption=name, severity=3)
    assert corrupted.shape == images.shape
    change = (corrupted.double() - images.double()).square().mean()
    assert 0.1 < change < 20_000


def test_published_parameters_hold_at_their_sizes_and_blurs_scale_between():
    assert settings("gaussian_blur", severity=5, size=32) == {"sigma": 1}
    assert settings("gaussian_blur", severity=5, size=64) == {"sigma": 1.5}
    assert settings("gaussian_blur", severity=5, size=224) == {"sigma": 6}
    assert settings("gaussian_blur", severity=5, size=28) == {"sigma": 1}
    assert settings("gaussian_blur", severity=5, size=56) == {"sigma": 1.5 * 56 / 64}
    assert settings("gaussian_blur", severity=5, size=448) == {"sigma": 12}
    assert settings("gaussian_noise", severity=1, size=28) == {"deviation": 0.04}
    assert settings("gaussian_noise", severity=1, size=160) == {"deviation": 0.08}


@pytest.mark.parametrize("size", [16, 20, 28])
def test_no_blur_vanishes_on_small_images(size):
    noise = torch.randint(
        256, (4, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    for severity in SEVERITIES:
        changed = corrupt(noise, corruption="defocus_blur", severity=severity).double() - noise
        assert changed.abs().mean() > 1, severity


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_images_are_no_special_case(name, level):
    images = torch.full((1, 32, 32, 3), level, dtype=torch.uint8)
    corrupted = corrupt(images, corruption=name, severity=5).double()
    if name in ("contrast", "defocus_blur", "gaussian_blur", "zoom_blur", "pixelate", "glass_blur"):
        assert torch.equal(corrupted, images.double())
    assert corrupted.std() < 128


def test_an_empty_batch_stays_empty():
    assert corrupt(torch.empty(0, 32, 32, 3, dtype=torch.uint8), corruption="fog", severity=1).shape[0] == 0


def test_an_unknown_corruption_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'gaussian_noise'"):
        corrupt(photographs(1, 32, 32), corruption="gausian_noise", severity=1)


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_a_severity_outside_1_to_5_is_refused(severity):
    with pytest.raises(ValueError, match="1 to 5"):
        corrupt(photographs(1, 32, 32), corruption="fog", severity=severity)


def test_images_of_another_type_or_layout_are_refused():
    with pytest.raises(TypeError, match=r"torch\.uint8"):
        check_channels_last(photographs(1, 32, 32).float())
    with pytest.raises(ValueError, match="channels last"):
        check_channels_last(photographs(1, 32, 32).permute(0, 3, 1, 2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_gpu_and_cpu_return_the_same_pixels(name):
    images = photographs(4, 32, 32)
    on_gpu = corrupt(images.cuda(), corruption=name, severity=3)
    assert on_gpu.is_cuda
    difference = (on_gpu.cpu().int() - corrupt(images, corruption=name, severity=3).int()).abs()
    assert (difference > 1).double().mean() < 1e-3


def test_cells_of_a_data_set_have_these_pixels_in_any_batch_and_order():
    clean = ImageArrays(photographs(10, 16, 16), torch.arange(10) % 3, ("a", "b", "c"))
    cell = GeneratedCorruptions(clean, seed=3).cell("impulse_noise", 4)
    expected = corrupt(clean.images, corruption="impulse_noise", severity=4, seed=3)
    for batch_size in (3, 10):
        images, labels = read_whole(cell, batch_size=batch_size)
        assert torch.equal(images, expected)
        assert torch.equal(labels, clean.labels)
    ids = torch.tensor([7, 2, 2])
    (batch,) = cell.batches([ids])
    assert torch.equal(batch.images, expected[ids])
    assert torch.equal(batch.labels, clean.labels[ids])
    others = [
        GeneratedCorruptions(clean, seed=3).cell("fog", 4),
        GeneratedCorruptions(clean).cell("impulse_noise", 4),
    ]
    assert len({source.fingerprint() for source in (cell, *others)}) == 3
