"""Boxes and pixels of the crops, compared with torchvision's own transforms on PIL images."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import (
    CenterCrop,
    Compose,
    InterpolationMode,
    RandomCrop,
    RandomResizedCrop,
    Resize,
)
from torchvision.transforms import functional as F

from tenet.data.crops import Crops, random_resized_box
from tenet.data.decode import decode
from tenet.errors import DatasetError

SIZES = [
    (61, 40),
    (40, 61),
    (33, 33),
    (300, 20),
    (17, 200),
]  # width, height; the last ones have no box that fits


def noise(size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(0).integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def cut_out(crops: Crops, picture: Image.Image, *, epoch: int = 0, image: int = 0) -> np.ndarray:
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return decode(file.getvalue(), name="picture", cut=lambda size: crops.cut(size, epoch=epoch, image=image))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.5, 0.6), (0.01, 0.02)])
def test_a_random_box_is_torchvisions_for_the_same_state_of_the_generator(size, scale):
    ratio = (3 / 4, 4 / 3)
    for seed in range(50):
        torch.manual_seed(seed)
        top, left, height, width = RandomResizedCrop.get_params(noise(size), list(scale), list(ratio))
        box = random_resized_box(
            size, scale=scale, ratio=ratio, generator=torch.Generator().manual_seed(seed)
        )
        assert box == (left, top, left + width, top + height)


@pytest.mark.parametrize("size", SIZES)
def test_a_training_image_is_torchvisions_resized_crop_of_its_box(size):
    crops = Crops(crop=24, scale=(0.08, 1.0), seed=3)
    picture = noise(size)
    for image in range(5):
        left, top, right, bottom = crops.cut(size, image=image).before
        expected = F.resized_crop(
            picture, top, left, bottom - top, right - left, [24, 24], InterpolationMode.BILINEAR
        )
        assert np.array_equal(cut_out(crops, picture, image=image), np.asarray(expected))


def test_a_random_crop_is_torchvisions_after_its_resize():
    crops = Crops(resize=32, crop=24, seed=3)
    picture = Resize(32)(noise((61, 40)))
    for image in range(5):
        left, top, _, _ = crops.cut((61, 40), image=image).after
        assert np.array_equal(
            cut_out(crops, noise((61, 40)), image=image), F.crop(picture, top, left, 24, 24)
        )
    torch.manual_seed(0)
    drawn = {RandomCrop.get_params(picture, (24, 24))[1] for _ in range(200)}
    assert {crops.cut((61, 40), image=image).after[0] for image in range(200)} == drawn


@pytest.mark.parametrize("size", SIZES[:3])
def test_a_test_image_is_torchvisions_resize_and_centre_crop(size):
    expected = Compose([Resize(29), CenterCrop(24)])(noise(size))
    crops = Crops(resize=29, crop=24, scale=(0.08, 1.0))
    assert np.array_equal(cut_out(crops, noise(size)), np.asarray(expected))


def test_boxes_depend_on_seed_epoch_and_image_and_on_nothing_else():
    crops = Crops(crop=24, scale=(0.08, 1.0), seed=0)
    first = crops.cut((61, 40), epoch=1, image=2)
    assert crops.cut((61, 40), epoch=1, image=2) == first
    others = [crops.cut((61, 40), epoch=1, image=3), crops.cut((61, 40), epoch=2, image=2)]
    others.append(Crops(crop=24, scale=(0.08, 1.0), seed=1).cut((61, 40), epoch=1, image=2))
    assert first not in others


def test_a_crop_that_does_not_fit_is_refused_by_name():
    with pytest.raises(DatasetError, match=r"^a\.png: 50 pixels can't be cut out of 61 x 40; scale it up"):
        Crops(crop=50).cut((61, 40), name="a.png")
