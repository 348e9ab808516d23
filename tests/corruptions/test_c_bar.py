"""The corruptions of the C-bar benchmarks against their definitions, pixel by pixel."""

import numpy as np
import pytest
import torch

from tenet.corruptions.generator import corrupt
from tenet.corruptions.names import (
    BAR_CORRUPTIONS,
    CIFAR_BAR,
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    IMAGENET_BAR,
    SEVERITIES,
    bar_names,
)
from tenet.corruptions.parameters import CIFAR_BAR_MAGNITUDES, IMAGENET_BAR_MAGNITUDES, settings
from tenet.corruptions.random import Draws, image_keys
from tests.corruptions.test_generator import photographs
from tests.reference import c_bar

SIZE = 16
# The share of values: Zingl's walk leaves out a few faint pixels.
MAY_DIFFER = {"lines": 0.01}


def test_the_names_are_two_benchmarks_of_ten_apart_from_the_19():
    assert len(CIFAR_BAR) == len(IMAGENET_BAR) == 10
    assert not set(BAR_CORRUPTIONS) & {*CORRUPTIONS, *EXTRA_CORRUPTIONS}
    for table, names in ((CIFAR_BAR_MAGNITUDES, CIFAR_BAR), (IMAGENET_BAR_MAGNITUDES, IMAGENET_BAR)):
        assert tuple(table) == names
        assert all(list(cells) == sorted(cells) and len(cells) == 5 for cells in table.values())
    assert bar_names(32) == bar_names(64) == CIFAR_BAR
    assert bar_names(96) == bar_names(224) == IMAGENET_BAR


@pytest.mark.parametrize("name", BAR_CORRUPTIONS)
@pytest.mark.parametrize("severity", [1, 5])
def test_each_is_what_its_authors_define(name, severity, monkeypatch):
    size = 32 if name in CIFAR_BAR else 224
    magnitude = settings(name, severity=severity, size=size)
    monkeypatch.setattr("tenet.corruptions.generator.settings", lambda *args, **options: magnitude)
    images = photographs(2, SIZE, SIZE)
    ours = corrupt(images, corruption=name, severity=severity, seed=5)
    keys = image_keys(torch.arange(2), seed=5, corruption=name, severity=severity)
    for image, result, key in zip(images, ours, keys, strict=True):
        expected = getattr(c_bar, name)(
            image.numpy().astype(np.float64), c_bar.One(Draws(key[None])), *magnitude.values()
        )
        expected = (np.clip(expected, 0, 255) + 1e-6).astype(np.uint8)
        differs = np.abs(result.numpy().astype(int) - expected) > 1
        assert differs.mean() <= MAY_DIFFER.get(name, 0)


@pytest.mark.parametrize("name", BAR_CORRUPTIONS)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (50, 37)])
def test_pixels_do_not_depend_on_the_batch(name, height, width, monkeypatch):
    size = 1 if name in CIFAR_BAR else 3
    images, ids = photographs(5, size * height, size * width), torch.tensor([7, 0, 123_456, 3, 2**40])
    whole = corrupt(images, corruption=name, severity=5, seed=3, image_ids=ids)
    changes = (whole.double() - images.double()).square().mean(dim=(1, 2, 3))
    assert (changes > 1).all()
    order = torch.tensor([4, 1, 2])
    subset = corrupt(images[order], corruption=name, severity=5, seed=3, image_ids=ids[order])
    assert torch.equal(subset, whole[order])
    if name != "circular_motion_blur":  # the others draw
        assert not torch.equal(corrupt(images, corruption=name, severity=5, seed=4, image_ids=ids), whole)


def test_errors_grow_with_the_severity():
    images = photographs(4, 32, 32)
    for name in CIFAR_BAR:
        changes = [
            (corrupt(images, corruption=name, severity=severity).double() - images.double()).abs().mean()
            for severity in SEVERITIES
        ]
        assert changes[0] < changes[-1], name


def test_a_corruption_of_the_other_benchmark_is_refused():
    with pytest.raises(
        ValueError, match="'ripple' has no magnitudes for images of 224 pixels; choose from blue"
    ):
        corrupt(photographs(1, 224, 224), corruption="ripple", severity=1)
