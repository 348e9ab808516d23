"""The loader's promise: batches are a function of (seed, epoch, step)."""

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tenet.augment import Augmentation, AugMix, NoAugmentation, Standard
from tenet.data import ImageArrays, TrainingLoader
from tenet.methods import Batch
from tenet.mixing import DataFacts, Mixup

IMAGES = 23


def plain(images: Tensor, *, generator: torch.Generator) -> Tensor:
    return images.float() / 255


def marked(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """The image with its blue channel at 1, to tell the view by."""
    return torch.cat([images[:, :2].float() / 255, torch.ones_like(images[:, 2:]).float()], dim=1)


class Views(Augmentation):
    """The given views, of images where they are."""

    views: Sequence = ()

    def __init__(self, *views: object) -> None:
        super().__init__(flip=False, padding=0)
        self.views = views

    def change(self, images: Tensor, *, generator: torch.Generator) -> Tensor:
        """Blue becomes a random number, one for all images."""
        number = torch.rand(1, generator=generator).expand_as(images[:, 2:])
        return torch.cat([images[:, :2].float() / 255, number], dim=1)


def make_loader(augmentation: Augmentation | None = None, **settings: object) -> TrainingLoader:
    """23 images of 8x8 whose red is their number and whose green is their label."""
    ids = torch.arange(IMAGES)
    labels = ids % 5
    images = torch.stack([ids, labels, torch.zeros_like(ids)], dim=1).to(torch.uint8)
    arrays = ImageArrays(images[:, None, None, :].expand(-1, 8, 8, -1).contiguous(), labels)
    arguments: dict = {"batch_size": 5, "seed": 0} | settings
    return TrainingLoader(arrays, augmentation=augmentation or Views(plain), **arguments)


def pixels(batch: Batch, channel: int) -> list[int]:
    return (batch.images[:, channel, 0, 0] * 255).round().int().tolist()


def same(first: Sequence[Batch], second: Sequence[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
        for a, b in zip(first, second, strict=True)
    )


def test_an_epoch_shows_every_image_once() -> None:
    shown = [image for batch in make_loader().epoch(0) for image in pixels(batch, 0)]
    assert sorted(shown) == list(range(IMAGES))
    assert shown != sorted(shown)


def test_an_epoch_shows_every_image_once_through_each_view_in_mixed_batches() -> None:
    loader = make_loader(Views(plain, marked), batch_size=8)
    batches = list(loader.epoch(0))
    shown = Counter(
        pair for batch in batches for pair in zip(pixels(batch, 0), pixels(batch, 2), strict=True)
    )
    assert shown == Counter((image, mark) for image in range(IMAGES) for mark in (0, 255))
    assert loader.samples_per_epoch == 2 * IMAGES
    assert sum(set(pixels(batch, 2)) == {0, 255} for batch in batches) >= len(batches) - 1


def test_views_together_are_those_of_the_same_samples_the_first_clean() -> None:
    loader = make_loader(Views(plain, marked), batch_size=8, views_together=3)
    batches = list(loader.epoch(0))
    assert [len(batch.labels) for batch in batches] == [8, 8, 7]
    shown = []
    for batch in batches:
        assert batch.views == 3
        clean, first, second = batch.images.chunk(3)
        assert torch.equal(clean[:, :2], first[:, :2])
        assert torch.equal(clean[:, :2], second[:, :2])
        assert (clean[:, 2] == 0).all()
        assert first[0, 2, 0, 0] != second[0, 2, 0, 0]
        shown += pixels(batch, 0)[: len(clean)]
    assert sorted(shown) == list(range(IMAGES))


def test_a_batch_is_mixed_last() -> None:
    facts = DataFacts(num_classes=5, mean=(0.5, 0.5, 0.5))
    plain_batches = list(make_loader().epoch(0))
    mixed_batches = list(make_loader(mixing=Mixup(), facts=facts).epoch(0))
    for plain_batch, mixed in zip(plain_batches, mixed_batches, strict=True):
        assert torch.equal(mixed.images, Mixup().mix(plain_batch, facts).images)


@pytest.mark.parametrize("augmentation", [Views(plain), Views(plain, marked)])
def test_labels_go_with_their_images(augmentation: Augmentation) -> None:
    for batch in make_loader(augmentation).epoch(0):
        assert pixels(batch, 1) == batch.labels.tolist()


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(5, [5, 5, 5, 5, 3]), (23, [23]), (100, [23]), (22, [22, 1]), (1, [1] * 23)]
)
def test_the_last_batch_holds_what_is_left(batch_size: int, sizes: list[int]) -> None:
    loader = make_loader(batch_size=batch_size)
    assert [len(batch.labels) for batch in loader.epoch(0)] == sizes
    assert loader.steps_per_epoch == len(sizes)


AUGMENTATIONS = [NoAugmentation(), Standard(padding=2), AugMix(padding=2)]


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=lambda augmentation: type(augmentation).__name__)
def test_the_same_seed_and_epoch_give_bitwise_the_same_batches(augmentation: Augmentation) -> None:
    loader = make_loader(augmentation)
    first = list(loader.epoch(3))
    list(loader.epoch(4))
    torch.manual_seed(1)
    assert same(first, list(loader.epoch(3)))
    assert same(first, list(make_loader(augmentation).epoch(3)))


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=lambda augmentation: type(augmentation).__name__)
@pytest.mark.parametrize("start", [1, 4])
def test_an_epoch_taken_up_at_a_later_step_goes_on_bitwise_as_the_whole(
    augmentation: Augmentation, start: int
) -> None:
    loader = make_loader(augmentation)
    assert same(list(loader.epoch(2, start=start)), list(loader.epoch(2))[start:])


def test_an_epoch_taken_up_at_its_end_is_empty() -> None:
    assert list(make_loader().epoch(0, start=5)) == []


def test_another_epoch_or_seed_has_another_order() -> None:
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        return tuple(image for batch in make_loader(seed=seed).epoch(epoch) for image in pixels(batch, 0))

    assert len({order(seed, epoch) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6


def test_no_two_steps_draw_the_same_augmentation() -> None:
    drawn = []

    def spy(images: Tensor, *, generator: torch.Generator) -> Tensor:
        drawn.append(generator.initial_seed())
        return plain(images, generator=generator)

    for seed in (0, 1):
        for epoch in (0, 1, 2):
            list(make_loader(Views(spy), seed=seed).epoch(epoch))
    assert len(set(drawn)) == len(drawn) == 2 * 3 * 5


def test_batches_count_their_steps_from_one_and_draw_by_them() -> None:
    loader = make_loader(seed=3)
    batches = [*loader.epoch(0), *loader.epoch(1, start=2)]
    assert [batch.step for batch in batches] == [1, 2, 3, 4, 5, 8, 9, 10]
    draws = [torch.rand(1, generator=batch.draw(purpose)).item() for batch in batches for purpose in "ab"]
    assert len(set(draws)) == len(draws)
    again = next(iter(make_loader(seed=3).epoch(1, start=2)))
    assert torch.rand(1, generator=again.draw("a")).item() == draws[10]
