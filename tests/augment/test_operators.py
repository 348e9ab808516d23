import pytest
import torch

from tenet.augment import operators
from tests.augment import pillow_reference
from tests.augment.pictures import KINDS, pictures

SIZES = ((32, 32), (28, 28), (33, 20))
BATCH = 12
TABLE_OPERATORS = {
    "autocontrast": {},
    "equalize": {},
    "posterize": {"bits": torch.arange(BATCH) % 8 + 1},
    "solarize": {"threshold": torch.linspace(0, 256, BATCH).long()},
}
AFFINE_OPERATORS = {
    "rotate": {"degrees": torch.linspace(-30, 30, BATCH).round()},
    "shear_x": {"factor": torch.linspace(-0.3, 0.3, BATCH)},
    "shear_y": {"factor": torch.linspace(-0.3, 0.3, BATCH)},
    "translate_x": {"pixels": torch.linspace(-11, 11, BATCH).round()},
    "translate_y": {"pixels": torch.linspace(-11, 11, BATCH).round()},
}


def by_pillow(name, images, parameters):
    values = next(iter(parameters.values()), torch.zeros(len(images))).tolist()
    operated = [
        pillow_reference.operate(name, pillow_reference.to_pillow(image), value)
        for image, value in zip(images, values, strict=True)
    ]
    return torch.stack([pillow_reference.from_pillow(picture) for picture in operated])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TABLE_OPERATORS)
def test_table_operators_equal_pillow_in_every_pixel(name, kind, size):
    images, parameters = pictures(kind, batch=BATCH, size=size), TABLE_OPERATORS[name]
    operated = getattr(operators, name)(images, **parameters)
    assert torch.equal(operated, by_pillow(name, images, parameters))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", AFFINE_OPERATORS)
def test_affine_operators_equal_pillow_within_a_value(name, kind, size):
    images, parameters = pictures(kind, batch=BATCH, size=size), AFFINE_OPERATORS[name]
    operated = getattr(operators, name)(images, **parameters).int()
    difference = (operated - by_pillow(name, images, parameters).int()).abs()
    assert (difference <= 1).float().mean() > 0.999
    assert (difference == 0).float().mean() > 0.98


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", AFFINE_OPERATORS)
def test_affine_operators_bring_in_black_where_pillow_does(name, size):
    white = torch.full((BATCH, 1, *size), 255, dtype=torch.uint8)
    operated = getattr(operators, name)(white, **AFFINE_OPERATORS[name])
    assert set(operated.unique().tolist()) == {0, 255}
    # A pixel whose source is right on the edge may fall to either side.
    assert (operated != by_pillow(name, white, AFFINE_OPERATORS[name])).float().mean() < 0.001


def test_autocontrast_equals_pillow_for_any_lowest_and_highest_value():
    lowest, highest = torch.randint(256, (2, 200), generator=torch.Generator().manual_seed(0)).sort(0).values
    ramps = torch.arange(256).clamp(lowest[:, None], highest[:, None]).byte()[:, None, None]
    assert torch.equal(operators.autocontrast(ramps), by_pillow("autocontrast", ramps, {"": lowest}))


@pytest.mark.parametrize("size", [(32, 32), (33, 20), (224, 301), (500, 701)])
@pytest.mark.parametrize("name", AFFINE_OPERATORS)
def test_affine_operators_at_zero_change_nothing(name, size):
    images = pictures("noise", batch=1, size=size)
    (parameter,) = AFFINE_OPERATORS[name]
    assert torch.equal(getattr(operators, name)(images, **{parameter: torch.zeros(1)}), images)


def test_translation_moves_by_whole_pixels():
    row = torch.tensor([[[[1, 2, 3, 4]]]], dtype=torch.uint8)
    assert operators.translate_x(row, pixels=torch.tensor([1.0])).flatten().tolist() == [2, 3, 4, 0]
    assert operators.translate_x(row, pixels=torch.tensor([-2.0])).flatten().tolist() == [0, 0, 1, 2]
    assert operators.translate_y(row.mT, pixels=torch.tensor([3.0])).flatten().tolist() == [4, 0, 0, 0]


def test_equalize_spreads_values_evenly():
    # 63 columns of 85 pixels lie below the highest value: 21 pixels to each of the 255 steps.
    images = torch.arange(100, 164, dtype=torch.uint8).repeat(1, 1, 85, 1)
    values = operators.equalize(images)[0, 0, 0]
    assert values[0] == 0
    assert values[-1] == 255
    assert (values.int().diff() - 4).abs().max() <= 1


@pytest.mark.parametrize("name", [*TABLE_OPERATORS, *AFFINE_OPERATORS])
def test_each_sample_and_channel_is_operated_on_by_itself(name):
    images = pictures("smooth", batch=BATCH)
    parameters = (TABLE_OPERATORS | AFFINE_OPERATORS)[name]
    together = getattr(operators, name)(images, **parameters)
    apart = [
        getattr(operators, name)(
            images[sample, channel][None, None],
            **{key: value[sample][None] for key, value in parameters.items()},
        )
        for sample in (0, 5, BATCH - 1)
        for channel in range(3)
    ]
    assert torch.equal(together[[0, 5, BATCH - 1]].flatten(0, 1), torch.cat(apart).flatten(0, 1))


@pytest.mark.parametrize("name", ["autocontrast", "rotate"])
def test_operators_take_images_in_any_memory_layout(name):
    images, parameters = pictures("smooth", batch=BATCH), (TABLE_OPERATORS | AFFINE_OPERATORS)[name]
    channels_last = images.contiguous(memory_format=torch.channels_last)
    operate = getattr(operators, name)
    assert torch.equal(operate(channels_last, **parameters), operate(images, **parameters))
