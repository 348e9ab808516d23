"""The counter-based draws."""

import torch

from tenet.corruptions.random import Draws, image_keys, scramble


def draws(count: int, **parts) -> Draws:
    settings = {"seed": 0, "corruption": "fog", "severity": 1} | parts
    return Draws(image_keys(torch.arange(count), **settings))


def splitmix64(state: int) -> int:
    """The reference finalizer with Python's integers."""
    mask = 2**64 - 1
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)


def test_hash_is_the_finalizer_of_splitmix64():
    values = [0, 1, -1, 2**62, -(2**63), 123_456_789_012_345, -987_654_321]
    expected = [splitmix64(value % 2**64) for value in values]
    assert [int(value) % 2**64 for value in scramble(torch.tensor(values))] == expected


def test_uniform_draws_fill_their_interval_evenly():
    values = draws(50).uniform(1000, low=-1.0, high=3.0)
    assert values.min() > -1
    assert values.max() < 3
    counts = torch.histc(values, bins=20, min=-1, max=3)
    assert ((counts - 2500).abs() < 5 * 2500**0.5).all()


def test_normal_draws_have_the_moments_of_a_normal():
    values = draws(50).normal(2001)
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
    assert abs((values**3).mean()) < 0.06
    assert abs((values**4).mean() - 3) < 0.15


def test_integers_are_uniform_below_their_upper_end():
    values = draws(20).integers(-2, 2, 10, 100)
    counts = torch.bincount(values.flatten() + 2)
    assert len(counts) == 4
    assert ((counts - 5000).abs() < 400).all()


def test_neighbouring_draws_images_and_calls_are_uncorrelated():
    source = draws(200)
    first, second = source.normal(500), source.normal(500)
    pairs = [
        (first[:, 1:], first[:, :-1]),
        (first[1:], first[:-1]),
        (first, second),
        (first[:, :250], first[:, 250:]),
    ]
    for left, right in pairs:
        assert abs((left * right).mean()) < 4 / left.numel() ** 0.5


def test_every_part_of_the_key_changes_the_draws():
    reference = draws(3).uniform(4)
    for parts in ({"seed": 1}, {"seed": -1}, {"corruption": "snow"}, {"severity": 2}):
        assert not torch.isclose(draws(3, **parts).uniform(4), reference).any()
    assert torch.equal(draws(3).uniform(4), reference)


def test_keys_of_many_images_and_cells_are_distinct():
    cells = [
        image_keys(torch.arange(10_000), seed=seed, corruption=name, severity=severity)
        for seed in (0, 1, 2**63)
        for name in ("fog", "snow")
        for severity in (1, 2)
    ]
    keys = torch.cat(cells)
    assert len(keys.unique()) == len(keys)
