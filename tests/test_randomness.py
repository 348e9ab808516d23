"""Randomness is a function of (seed, purpose, step, rank), never of history."""

from itertools import product

import torch

from tenet.methods import seed_global_generators
from tenet.randomness import derive_seed, make_generator


def test_any_change_of_an_argument_changes_the_seed() -> None:
    arguments = list(product((0, 1, 10), ("order", "augment"), (0, 1, 10), (0, 1, 10)))
    seeds = {derive_seed(seed, purpose, step=step, rank=rank) for seed, purpose, step, rank in arguments}
    assert len(seeds) == len(arguments)


def test_digits_do_not_wander_between_arguments() -> None:
    assert derive_seed(1, "order", step=11) != derive_seed(1, "order", step=1, rank=1)
    assert derive_seed(11, "order", step=1) != derive_seed(1, "order", step=11)


def test_seeds_are_not_negative_and_fit_into_63_bits() -> None:
    seeds = [derive_seed(seed, "order", step=step) for seed in (0, 2**63 - 1) for step in range(200)]
    assert min(seeds) >= 0
    assert 2**62 <= max(seeds) < 2**63


def test_seeds_are_the_same_in_every_version() -> None:
    # Runs on record are repeated with these; a change here makes every old seed another one.
    assert derive_seed(0, "order") == 1_620_321_628_498_590_931
    assert derive_seed(1, "medoids", step=500, rank=3) == 2_917_862_745_778_025_686


def test_neighbouring_steps_have_unrelated_draws() -> None:
    draws = torch.stack(
        [
            torch.rand(64, generator=make_generator("cpu", seed=0, purpose="augment", step=step))
            for step in range(64)
        ]
    )
    correlations = torch.corrcoef(draws) - torch.eye(64)
    # 0.125 is one standard deviation for 64 numbers.
    assert correlations.abs().max() < 6 * 0.125


def test_the_same_arguments_give_the_same_numbers_whatever_was_drawn_before() -> None:
    def draw() -> torch.Tensor:
        return torch.rand(8, generator=make_generator("cpu", seed=3, purpose="order", step=7, rank=1))

    first = draw()
    torch.manual_seed(0)
    torch.rand(100)
    assert torch.equal(draw(), first)


def test_drawing_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    torch.rand(8, generator=make_generator("cpu", seed=0, purpose="order"))
    assert torch.equal(torch.get_rng_state(), before)


def test_each_process_draws_other_dropout_masks_in_each_iteration_and_the_same_ones_when_resumed() -> None:
    def mask(**place: int) -> torch.Tensor:
        torch.rand(7)  # what was drawn before
        seed_global_generators(torch.device("cpu"), **place)
        return torch.nn.functional.dropout(torch.ones(64), 0.5)

    places = [
        {"seed": seed, "step": step, "rank": rank} for seed in (0, 1) for step in (1, 2) for rank in (0, 1)
    ]
    masks = [mask(**place) for place in places]
    assert len({tuple(drawn.tolist()) for drawn in masks}) == len(places)
    assert all(torch.equal(mask(**place), drawn) for place, drawn in zip(places, masks, strict=True))
