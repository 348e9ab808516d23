"""APR and HybridAugment: the published values, stage by stage."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tenet.augment import AprSingle, HybridSingle
from tenet.augment.augmix import OPERATORS, apply_operators
from tenet.augment.frequency import gaussian_kernel, low_pass, recombine, to_bytes
from tenet.augment.single_frequency import swap_phase
from tenet.methods import Batch, Draw
from tenet.mixing import Apr, DataFacts, Hybrid
from tenet.mixing.frequency import pair_amplitude, pair_frequencies
from tests.golden import GOLDEN

FACTS = DataFacts(num_classes=10, mean=(0.5, 0.5, 0.5))
with np.load(GOLDEN / "frequency.npz") as file:
    VALUES = {key: file[key] for key in file.files}
TRACES = json.loads(str(VALUES.pop("single/trace")))


def images_of(key, *rows):
    """uint8 [N, h, w, 3] or [h, w, 3] as [N, 3, h, w]."""
    images = torch.from_numpy(VALUES[key])
    images = images[None] if images.ndim == 3 else images
    images = images.permute(0, 3, 1, 2).contiguous()
    return images[list(rows)] if rows else images


def values_of(key):
    return torch.from_numpy(VALUES[key])


@pytest.mark.parametrize(("size", "sigma"), [(3, 0.5), (3, 1.0), (9, 1.5)])
def test_the_low_pass_is_the_published_one(size, sigma):
    name = f"kernel_{size}_sigma_{sigma}"
    torch.testing.assert_close(gaussian_kernel(size, sigma), values_of(f"kernel/{name}"), atol=1e-6, rtol=0)
    low = low_pass(images_of("images", 0, 1).float() / 255, size=size, sigma=sigma)
    torch.testing.assert_close(low, values_of(f"low_pass/{name}"), atol=2e-5, rtol=0)


def test_paired_images_are_the_published_ones():
    images = images_of("images").float() / 255
    high, amplitude = values_of("permutation_high"), values_of("permutation_amplitude")
    for name, paired in {
        "apr": pair_amplitude(images, amplitude),
        "hybrid": pair_frequencies(images, high=high),
        "hybrid_plus": pair_frequencies(images, high=high, amplitude=amplitude),
    }.items():
        torch.testing.assert_close(paired, values_of(f"paired/{name}"), atol=2e-5, rtol=0)


def test_recombined_images_are_the_published_ones_and_wrap_as_the_official_conversion_does():
    amplitude, phase = images_of("recombine/amplitude_images"), images_of("recombine/phase_images")
    recombined = recombine(amplitude=amplitude.float(), phase=phase.float())
    expected = values_of("recombine/float").permute(0, 3, 1, 2)
    torch.testing.assert_close(recombined[: len(expected)], expected, atol=1e-3, rtol=0)
    assert_bytes_close(to_bytes(recombined), images_of("recombine/official_uint8"))
    assert ((recombined < 0) | (recombined >= 256)).any()


def assert_bytes_close(actual, expected, *, share=0.01):
    """Equal within one level modulo 256, and exactly but for a `share` of the pixels."""
    difference = (actual.int() - expected.int()) % 256
    assert ((difference <= 1) | (difference == 255)).all()
    assert (difference != 0).float().mean() <= share


def operated(images, event):
    return apply_operators(
        images,
        torch.tensor([OPERATORS.index(event["op"])]),
        torch.tensor([event["level"]], dtype=torch.float32),
        torch.tensor([-1.0 if event["negative"] else 1.0]),
    )


@pytest.mark.parametrize("case", TRACES)
def test_the_operators_of_single_images_are_the_published_ones(case):
    """On the recorded inputs: equalize would blow up a difference of one level."""
    steps = images_of(f"single/{case}/steps")
    first, *rest = [event for event in TRACES[case] if "op" in event]
    assert_bytes_close(operated(images_of(f"single/{case}/input"), first), steps[:1], share=0.02)
    if rest:
        assert_bytes_close(operated(steps[:1], rest[0]), steps[1:2], share=0.02)


@pytest.mark.parametrize("case", ["apr_both", "apr_both_other"])
def test_single_images_with_swapped_phases_are_the_published_ones(case):
    first, second = images_of(f"single/{case}/steps").split(1)
    is_first = torch.tensor(TRACES[case][-1]["uniform"] > 0.5).view(1, 1, 1, 1)
    assert_bytes_close(swap_phase(first, second, is_first), images_of(f"single/{case}/output"))


class Scripted(HybridSingle):
    """Whose coin falls as told, and whose inner APR-S is given."""

    def script(self, monkeypatch, *, is_first, low_after=None):
        from tenet.augment import single_frequency

        monkeypatch.setattr(
            single_frequency, "coin", lambda *args, **settings: torch.tensor(is_first).view(1, 1, 1, 1)
        )
        if low_after is not None:
            self.seen = []
            monkeypatch.setattr(
                self._inner, "change_bytes", lambda low, **settings: self.seen.append(low) or low_after
            )
        return self


@pytest.mark.parametrize("case", [case for case in TRACES if case.startswith("hybrid") and "one" not in case])
def test_single_images_with_swapped_frequencies_are_the_published_ones(case, monkeypatch):
    first, second = images_of(f"single/{case}/steps")[:2].split(1)
    is_first = TRACES[case][-1]["uniform"] > 0.5
    plus = "plus" in case
    after = images_of(f"single/{case}/low_after")[0 if is_first else 1][None] if plus else None
    augmentation = Scripted(plus=plus).script(monkeypatch, is_first=is_first, low_after=after)
    output = augmentation.recombine_pair(first, second, generator=torch.Generator())
    assert_bytes_close(output, images_of(f"single/{case}/output"))
    if plus:
        before = images_of(f"single/{case}/low_before")[0 if is_first else 1][None]
        assert_bytes_close(augmentation.seen[0], before)


@pytest.mark.parametrize("augmentation", [AprSingle(), HybridSingle(plus=False), HybridSingle()])
def test_single_views_are_of_their_generator_alone_and_differ_between_images(augmentation):
    images = torch.randint(256, (16, 3, 20, 16), dtype=torch.uint8)

    def view(seed):
        return augmentation.view(images, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(view(0), view(0))
    assert not torch.equal(view(0), view(1))
    assert view(0).min() >= 0
    assert view(0).max() <= 1
    same = augmentation.view(images[:1].expand(16, -1, -1, -1), generator=torch.Generator().manual_seed(0))
    assert len(same.unique(dim=0)) > 10
    clean, one, other = augmentation.together(
        images, views=3, generator=torch.Generator().manual_seed(0)
    ).chunk(3)
    assert not torch.equal(one, other)
    assert not torch.equal(clean, one)


def batch_of(views=1, step=1):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(views * 8, 3, 12, 12, generator=generator)
    return Batch(
        images=images, labels=torch.arange(8), step=step, draw=Draw("cpu", seed=0, step=step), views=views
    )


@pytest.mark.parametrize(
    "mixing", [Apr(probability=1.0), Hybrid(probability=1.0), Hybrid(plus=False, probability=1.0)]
)
def test_a_paired_batch_holds_the_images_and_their_recombinations(mixing):
    batch = batch_of()
    mixed = mixing.mix(batch, FACTS)
    assert mixed.views == 2
    first, second = mixed.images.chunk(2)
    assert torch.equal(first, batch.images)
    assert (first != second).flatten(1).any(1).sum() >= 6  # a permutation may leave a few samples in place
    assert torch.equal(mixed.labels, batch.labels)
    assert torch.equal(mixing.mix(batch, FACTS).images, mixed.images)


def test_views_for_jsd_are_recombined_themselves_and_alike():
    batch = batch_of()
    twice = replace(batch, images=torch.cat([batch.images] * 3), views=3)
    mixed = Hybrid(probability=1.0).mix(twice, FACTS)
    assert mixed.views == 3
    one, other, third = mixed.images.chunk(3)
    assert torch.equal(one, other)
    assert torch.equal(one, third)
    assert torch.equal(one, Hybrid(probability=1.0).mix(batch, FACTS).images.chunk(2)[1])


def test_a_batch_is_recombined_with_the_probability():
    due = 0
    for step in range(400):
        first, second = Apr().mix(batch_of(step=step), FACTS).images.chunk(2)
        due += not torch.equal(first, second)
    assert 210 <= due <= 270
