"""A data set cut in two, beside scikit-learn's cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenet.data import ImageArrays
from tenet.data.split import stratified_split
from tenet.errors import DatasetError


def numbered(labels: list[int]) -> ImageArrays:
    """Images that hold their own number."""
    numbers = torch.arange(len(labels))
    pixels = torch.stack([numbers % 256, numbers // 256, torch.zeros_like(numbers)], dim=1)
    return ImageArrays(pixels.to(torch.uint8)[:, None, None], torch.tensor(labels))


def numbers_of(arrays: ImageArrays) -> list[int]:
    pixels = arrays.images[:, 0, 0].int()
    return (pixels[:, 0] + 256 * pixels[:, 1]).tolist()


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=400),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_parts_are_those_of_scikit_learn_or_both_refuse(
    labels: list[int], fraction: float, seed: int
) -> None:
    from sklearn.model_selection import train_test_split

    try:
        theirs = train_test_split(
            np.arange(len(labels)), train_size=fraction, stratify=labels, random_state=seed
        )
    except ValueError:
        theirs = None
    if theirs is None or len({labels[index] for index in theirs[0]}) < len(set(labels)):
        with pytest.raises(DatasetError):
            stratified_split(numbered(labels), fraction, seed=seed)
        return
    ours = stratified_split(numbered(labels), fraction, seed=seed)
    for our_part, their_part in zip(ours, theirs, strict=True):
        assert numbers_of(our_part) == sorted(their_part.tolist())
        assert our_part.labels.tolist() == [labels[index] for index in sorted(their_part)]


def test_a_fraction_that_would_lose_a_rare_class_is_refused() -> None:
    arrays = numbered([0] * 50 + [1] * 50 + [2] * 2)
    with pytest.raises(DatasetError, match=r"0\.1 of 102 training images leaves none of class 2"):
        stratified_split(arrays, 0.1, seed=0)


def test_shares_that_rounding_leaves_short_are_drawn_as_scikit_learn_draws_them() -> None:
    from sklearn.model_selection import train_test_split

    labels = [index % 30 for index in range(1000)]
    for fraction in (0.06, 0.27, 0.33, 0.83):
        theirs, _ = train_test_split(np.arange(1000), train_size=fraction, stratify=labels, random_state=0)
        ours, _ = stratified_split(numbered(labels), fraction, seed=0)
        assert numbers_of(ours) == sorted(theirs.tolist())
