import pytest
import torch

from tenet.augment import NoAugmentation, Standard
from tenet.augment.views import check_images, flip_and_crop
from tests.augment.pictures import pictures


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_no_augmentation_is_the_images_in_unit_range():
    images = pictures("noise")
    (view,) = NoAugmentation().views
    assert torch.equal(view(images, generator=seeded()), images.float() / 255)


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
@pytest.mark.parametrize("flip", [True, False])
def test_each_image_is_a_crop_of_its_padded_flipped_self(size, flip):
    images = pictures("noise", batch=40, size=size).clamp(min=1)
    height, width = size
    cropped = flip_and_crop(images, flip=flip, padding=2, generator=seeded())
    found = set()
    for image, crop in zip(images, cropped, strict=True):
        matches = [
            (flipped, top, left)
            for flipped in (False, True)
            for top in range(5)
            for left in range(5)
            if torch.equal(padded(image, flipped)[:, top : top + height, left : left + width], crop)
        ]
        assert len(matches) == 1
        found.update(matches)
    assert {flipped for flipped, _, _ in found} == ({False, True} if flip else {False})
    assert {top for _, top, _ in found} == {left for _, _, left in found} == set(range(5))
    assert len({(top, left) for _, top, left in found}) > 15


def padded(image, flipped):
    return torch.nn.functional.pad(image.flip(2) if flipped else image, (2, 2, 2, 2))


def test_offsets_and_flips_are_uniform():
    columns = torch.arange(1, 17, dtype=torch.uint8).expand(20_000, 1, 16, 16)
    cropped = flip_and_crop(columns, flip=True, padding=4, generator=seeded())
    left, right = cropped[:, 0, 8, 8].int(), cropped[:, 0, 8, 9].int()
    flipped = right < left
    assert flipped.float().mean() == pytest.approx(0.5, abs=0.02)
    offsets = torch.where(flipped, 12 - left, left - 5)
    shares = offsets.bincount(minlength=9) / len(offsets)
    assert shares.tolist() == pytest.approx([1 / 9] * 9, abs=0.012)


def test_standard_view_crops_and_flips_into_unit_range():
    images = pictures("noise")
    (view,) = Standard(flip=True, padding=4).views
    augmented = view(images, generator=seeded())
    assert augmented.dtype == torch.float32
    expected = flip_and_crop(images, flip=True, padding=4, generator=seeded())
    assert torch.equal(augmented, expected.float() / 255)


def test_standard_without_flip_and_padding_changes_nothing():
    images = pictures("noise", size=(33, 20), channels=1)
    (view,) = Standard(flip=False, padding=0).views
    assert torch.equal(view(images, generator=seeded()), images.float() / 255)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"padding": -1}, r"^padding=-1 must be an integer of at least 0"),
        ({"padding": True}, r"^padding=True must be an integer"),
    ],
)
def test_standard_refuses_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        Standard(**arguments)


def test_images_that_are_not_uint8_batches_are_refused():
    with pytest.raises(TypeError, match=r"torch.float32 can't be augmented; pass uint8"):
        check_images(torch.rand(2, 3, 8, 8))
    for shape in ((3, 8, 8), (2, 4, 8, 8)):
        with pytest.raises(ValueError, match=r"must be \[batch, 1 or 3, h, w\]"):
            check_images(torch.zeros(shape, dtype=torch.uint8))


@pytest.mark.parametrize("augmentation", [NoAugmentation(), Standard()])
def test_every_view_refuses_images_that_are_not_uint8(augmentation):
    for view in augmentation.views:
        with pytest.raises(TypeError):
            view(torch.rand(2, 3, 8, 8), generator=seeded())
