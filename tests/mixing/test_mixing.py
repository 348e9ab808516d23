"""Cutout, Mixup and CutMix: the published values given the draws, and what the draws do to a batch."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from tenet.methods import Batch, Draw
from tenet.mixing import CutMix, Cutout, DataFacts, Mixing, Mixup
from tenet.mixing.cutmix import cut_box, cutmix, share_left
from tenet.mixing.cutout import erased_squares
from tenet.mixing.mixup import mixup
from tests import golden

FACTS = DataFacts(num_classes=10, mean=(0.25, 0.5, 0.75))
MIXINGS = [Cutout(length=8), Mixup(), CutMix(probability=1.0)]


@pytest.fixture(scope="module")
def values():
    return golden.load("mixes.npz")


def batch_of(images, labels, *, step=1, **settings):
    return Batch(images=images, labels=labels, step=step, draw=Draw("cpu", seed=0, step=step), **settings)


def random_batch(*, samples=16, views=1, step=1):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(views * samples, 3, 12, 10, generator=generator)
    return batch_of(images, torch.randint(10, (samples,), generator=generator), step=step, views=views)


@pytest.mark.parametrize("length", [16, 8, 7])
def test_cutout_erases_the_published_pixels(values, length):
    erased = erased_squares(values["cutout/centres_row_column"], length=length, size=(32, 32))
    assert torch.equal(erased, values[f"cutout/erased_length_{length}"])


def test_cutout_fills_with_the_mean_colour():
    batch = random_batch()
    mixed = Cutout(length=8).mix(batch, FACTS)
    changed = (mixed.images != batch.images).any(1)
    assert changed.any(2).any(1).all()
    assert not changed.all(2).all(1).any()
    colours = mixed.images.permute(0, 2, 3, 1)[changed]
    torch.testing.assert_close(colours, torch.tensor(FACTS.mean).expand_as(colours))
    assert mixed.targets is None


def assert_published(values, mixed, *, method):
    torch.testing.assert_close(mixed.images, values[f"{method}/images"], atol=1e-6, rtol=0)
    torch.testing.assert_close(mixed.targets, values[f"{method}/targets"], atol=1e-6, rtol=0)
    logits = values["logits"].clone().requires_grad_()
    loss = F.cross_entropy(logits, mixed.targets)
    torch.testing.assert_close(loss.detach(), values[f"{method}/loss"], atol=1e-6, rtol=1e-6)
    (gradients,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradients, values[f"{method}/gradients"], atol=1e-6, rtol=0)


def test_mixup_is_the_published_one(values):
    batch = batch_of(values["images"], values["labels"])
    mixed = mixup(batch, share=values["mixup/lambda"], partner=values["permutation"], num_classes=10)
    assert_published(values, mixed, method="mixup")


def test_cutmix_is_the_published_one(values):
    batch = batch_of(values["images"], values["labels"])
    row, column = values["cutmix/centre"]
    box = cut_box(values["cutmix/lambda_drawn64"], row=row, column=column, size=(32, 32))
    assert torch.stack([box.top, box.left, box.bottom, box.right]).tolist() == values["cutmix/box"].tolist()
    mixed = cutmix(batch, box=box, partner=values["permutation"], num_classes=10)
    assert_published(values, mixed, method="cutmix")


def test_cutmix_boxes_and_shares_are_the_published_ones_at_every_size_and_border(values):
    for height, width, drawn, row, column, top, left, bottom, right, corrected in values["cutmix/boxes64"]:
        size = (int(height), int(width))
        box = cut_box(drawn, row=row.long(), column=column.long(), size=size)
        assert [int(edge) for edge in box] == [int(top), int(bottom), int(left), int(right)]
        torch.testing.assert_close(share_left(box, size).double(), corrected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "mixing", [Mixup(), CutMix(probability=1.0)], ids=lambda mixing: type(mixing).__name__
)
def test_targets_share_two_labels_and_the_label_is_the_larger_share(mixing: Mixing):
    for step in range(1, 9):
        batch = random_batch(step=step)
        mixed = mixing.mix(batch, FACTS)
        torch.testing.assert_close(mixed.targets.sum(1), torch.ones(16))
        assert ((mixed.targets > 0).sum(1) <= 2).all()
        assert torch.equal(mixed.targets.gather(1, mixed.labels[:, None])[:, 0], mixed.targets.amax(1))
        assert (mixed.targets.gather(1, batch.labels[:, None]) > 0).all()


@pytest.mark.parametrize("mixing", MIXINGS, ids=lambda mixing: type(mixing).__name__)
def test_draws_depend_on_the_step_alone_and_all_views_change_alike(mixing: Mixing):
    batch = random_batch()
    mixed = mixing.mix(batch, FACTS)
    torch.manual_seed(1)
    assert torch.equal(mixing.mix(batch, FACTS).images, mixed.images)
    other = mixing.mix(random_batch(step=2), FACTS)
    assert not torch.equal(other.images, mixed.images)
    twice = dataclasses.replace(batch, images=torch.cat([batch.images, batch.images]), views=2)
    assert torch.equal(mixing.mix(twice, FACTS).images, torch.cat([mixed.images, mixed.images]))


def test_the_probability_of_cutmix_is_that_of_a_batch():
    mixing = CutMix(probability=0.25)
    mixed = sum(mixing.mix(random_batch(step=step), FACTS).targets is not None for step in range(400))
    assert 70 <= mixed <= 130
