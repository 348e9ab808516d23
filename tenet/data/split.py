"""Stratified split of a data set."""

import numpy as np
import torch

from tenet.data.arrays import ImageArrays
from tenet.errors import DatasetError


def stratified_split(arrays: ImageArrays, fraction: float, *, seed: int) -> tuple[ImageArrays, ImageArrays]:
    """Draw `fraction` of the images, with the same proportions of classes. Return them and the rest, in their order.

    Draws the same images as scikit-learn's train_test_split(stratify=labels, random_state=seed), whose import takes a
    second. Raises DatasetError if the drawn part would have no image of some class.
    """
    labels = arrays.labels.numpy()
    drawn_total = int(fraction * len(labels))
    classes, sizes = np.unique(labels, return_counts=True)
    if sizes.min() < 2 or min(drawn_total, len(labels) - drawn_total) < len(classes):
        raise DatasetError(
            f"{len(labels)} images can't be split into {fraction:g} and {1 - fraction:g} of each class: each part "
            f"needs an image of each of the {len(classes)} classes"
        )
    random = np.random.RandomState(seed)
    shares = apportion(sizes, drawn_total, random)
    # The result is not needed. scikit-learn also apportions the rest, and its random draws change those that follow.
    apportion(sizes - shares, len(labels) - drawn_total, random)
    if not shares.all():
        lost = classes[shares.argmin()]
        raise DatasetError(f"{fraction:g} of {len(labels)} training images leaves none of class {lost}")
    is_drawn = np.zeros(len(labels), dtype=bool)
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
    for members, share in zip(by_class, shares, strict=True):
        is_drawn[random.permutation(members)[:share]] = True
    first, rest = np.flatnonzero(is_drawn), np.flatnonzero(~is_drawn)
    return arrays.take(torch.from_numpy(first)), arrays.take(torch.from_numpy(rest))


def apportion(sizes: np.ndarray, seats: int, random: np.random.RandomState) -> np.ndarray:
    """Divide `seats` into integer shares in proportion to `sizes`, by the largest remainder method.

    `random` breaks ties between equal remainders.
    """
    quotas = sizes / sizes.sum() * seats
    shares = np.floor(quotas).astype(int)
    remainders = quotas - shares
    left = seats - shares.sum()
    for remainder in np.unique(remainders)[::-1]:
        if left == 0:
            break
        equal = np.flatnonzero(remainders == remainder)
        winners = random.choice(equal, size=min(len(equal), left), replace=False)
        shares[winners] += 1
        left -= len(winners)
    return shares
