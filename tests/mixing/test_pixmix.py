"""PixMix: the published values given the draws, Pillow's enhancements, and the pictures."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from tenet.augment import enhance
from tenet.augment.chosen import replace_chosen
from tenet.augment.coefficients import add, draw_coefficients, mix_pixels, multiply
from tenet.augment.enhance import ALL_OPERATORS
from tenet.augment.pictures import crop_pictures, load_pictures
from tenet.errors import DatasetError
from tenet.experiment import Experiment
from tenet.methods import Batch, Draw
from tenet.mixing import DataFacts, PixMix
from tenet.mixing.pixmix import PixMixRound, pixmix
from tests.config.options import composed
from tests.golden import GOLDEN

FACTS = DataFacts(num_classes=10, mean=(0.5, 0.5, 0.5))
with np.load(GOLDEN / "mixing.npz") as file:
    VALUES = {key: torch.from_numpy(file[key]) for key in file.files if not key.endswith("trace")}
    TRACES = json.loads(str(file["pixmix/trace"]))
IMAGES = VALUES["images"].permute(0, 3, 1, 2).contiguous()
PICTURES = VALUES["pictures"].permute(0, 3, 1, 2).contiguous()


ENHANCERS = {
    enhance.enhance_colour: ImageEnhance.Color,
    enhance.enhance_contrast: ImageEnhance.Contrast,
    enhance.enhance_brightness: ImageEnhance.Brightness,
    enhance.enhance_sharpness: ImageEnhance.Sharpness,
}


@pytest.mark.parametrize("ours", ENHANCERS, ids=lambda function: function.__name__)
def test_enhancements_are_pillows_in_every_pixel(ours):
    for factor in (0.118, 0.28, 0.4, 0.622, 0.64):
        changed = ours(IMAGES, torch.full((6,), factor))
        for image, one in zip(VALUES["images"].numpy(), changed, strict=True):
            theirs = ENHANCERS[ours](Image.fromarray(image)).enhance(factor)
            assert np.array_equal(one.permute(1, 2, 0).numpy(), np.asarray(theirs))


def test_adding_and_multiplying_are_the_published_ones():
    images, others = IMAGES[:4].float() / 255, PICTURES[[0, 1, 2, 0]].float() / 255
    a, b = VALUES["operation/a_b"][:4].unbind(1)
    torch.testing.assert_close(add(images, others, a, b), VALUES["operation/add"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        multiply(images, others, a, b), VALUES["operation/multiply"], atol=1e-5, rtol=1e-4
    )


def test_coefficients_have_the_published_mean():
    a, b = draw_coefficients(20_000, beta=3.0, generator=torch.Generator().manual_seed(0))
    means = torch.stack([a.mean(), b.mean()])
    torch.testing.assert_close(means, VALUES["operation/a_b_mean_for_beta_3"].float(), atol=0.01, rtol=0)


@pytest.mark.parametrize("name", ["random_pixels", "random_elems"])
def test_mixing_by_pixels_and_by_elements_is_the_published_one(name):
    mixed = mix_pixels(
        IMAGES[:1].float() / 255,
        PICTURES[:1].float() / 255,
        uniform=VALUES[f"ipmix/{name}/uniform"][None],
        threshold=VALUES[f"ipmix/{name}/threshold"][None],
    )
    torch.testing.assert_close(mixed[0], VALUES[f"ipmix/{name}/output"], atol=1e-5, rtol=0)


def published_round(event, *, mix="add", a=1.0, b=0.0):
    """event: an operator's, "picture", or None for an inactive round."""
    operator = event if isinstance(event, dict) else {"op": "brightness", "level": 1.0}
    return PixMixRound(
        is_active=torch.tensor([event is not None]),
        with_picture=torch.tensor([event == "picture"]),
        by_adding=torch.tensor([mix == "add"]),
        operators=torch.tensor([ALL_OPERATORS.index(operator["op"].replace("color", "colour"))]),
        levels=torch.tensor([operator["level"]], dtype=torch.float32),
        signs=torch.tensor([-1.0 if operator.get("negative") else 1.0]),
        a=torch.tensor([a]),
        b=torch.tensor([b]),
    )


@pytest.mark.parametrize("index", range(6))
def test_a_whole_pixmix_is_the_published_one(index):
    trace = TRACES[index]
    rounds = [published_round(one["with"], mix=one["mix"], a=one["a"], b=one["b"]) for one in trace["rounds"]]
    mixed = pixmix(
        IMAGES[index : index + 1],
        PICTURES[index % 3 : index % 3 + 1],
        published_round(trace["start"]),
        rounds,
    )
    difference = ((mixed[0] - 0.5) / 0.5 - VALUES[f"pixmix/{index}/output"]).abs()
    # Rotations and shears may differ by one level of 255 in few pixels.
    assert (difference > 1e-5).float().mean() < 0.01
    assert difference.max() < 0.05


def batch_of(step=1, size=32):
    images = torch.randint(256, (8, 3, size, size), generator=torch.Generator().manual_seed(0)) / 255
    return Batch(images=images, labels=torch.arange(8), step=step, draw=Draw("cpu", seed=0, step=step))


def test_draws_depend_on_the_step_alone_and_some_images_stay_as_they_are():
    mixing = PixMix()
    mixed = [mixing.mix(batch_of(step), FACTS).images for step in range(1, 21)]
    assert torch.equal(PixMix().mix(batch_of(3), FACTS).images, mixed[2])
    changed = torch.stack([(one != batch_of().images).flatten(1).any(1).float() for one in mixed])
    # One image in ten has no round and begins from itself.
    assert 0.8 <= changed.mean() <= 0.97
    assert all(0 <= one.min() <= one.max() <= 1 for one in mixed)


def test_fractals_are_rich_pictures_and_always_the_same():
    pictures = load_pictures(None, size=32, group="mixing")
    assert pictures.shape == (300, 3, 36, 36)
    assert (pictures.float().std(dim=(1, 2, 3)) > 20).float().mean() > 0.9
    assert len(pictures.unique(dim=0)) == 300
    assert "not the authors'" in PixMix().picture_source
    one, other = (
        crop_pictures(pictures, torch.tensor([5, 5]), size=32, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0)
    )
    assert torch.equal(one, other)


def test_a_folder_that_is_not_there_is_refused_before_any_data_is_read():
    experiment = Experiment(
        composed("experiment=debug", "augment=standard", "mixing=pixmix", "mixing.pictures=nowhere")
    )
    with pytest.raises(DatasetError, match=r"mixing\.pictures=nowhere: is not a folder"):
        experiment.check()
    assert "splits" not in vars(experiment)


def test_pictures_of_a_folder_are_used_and_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"mixing\.pictures=.*: there are no pictures"):
        load_pictures(str(tmp_path), size=32, group="mixing")
    (tmp_path / "a").mkdir()
    Image.new("RGB", (90, 50), (200, 0, 0)).save(tmp_path / "a" / "red.PNG")
    Image.new("L", (40, 70), 7).save(tmp_path / "grey.jpg")
    pictures = load_pictures(str(tmp_path), size=32, group="mixing")
    assert pictures.shape == (2, 3, 36, 36)
    assert pictures.amax((2, 3)).tolist() == [[200, 0, 0], [7, 7, 7]]


@pytest.mark.parametrize("chosen", [[], [1, 4], range(6)])
def test_a_change_of_chosen_images_is_that_of_all_images(chosen):
    """A CPU computes the chosen ones alone."""
    operators = torch.arange(6) * 2  # of both kinds
    inputs = (IMAGES, operators, torch.full((6,), 2.5), torch.ones(6))
    is_chosen = torch.zeros(6, dtype=torch.bool)
    is_chosen[list(chosen)] = True
    expected = torch.where(
        is_chosen[:, None, None, None], enhance.apply_any_operator(*inputs), PICTURES.repeat(2, 1, 1, 1)
    )
    actual = replace_chosen(PICTURES.repeat(2, 1, 1, 1), is_chosen, enhance.apply_any_operator, *inputs)
    assert torch.equal(actual, expected)
