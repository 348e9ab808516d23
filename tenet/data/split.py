"""Parts of a data set: splits, stratified by class, or random if images have several labels; some images of each class."""

import logging

import numpy as np
import torch

from tenet.data.source import ImageSource
from tenet.errors import DatasetError

logger = logging.getLogger("tenet")


def split(source: ImageSource, fraction: float, *, seed: int) -> tuple[ImageSource, ImageSource]:
    """Draw `fraction` of the images; return them and the rest, in their order.

    The split is stratified by class. Multi-label images are drawn at random, because no split has the same share of each
    class; a message says so. Raises DatasetError if a part would be empty or would have no image of some class.
    """
    return (random_split if source.is_multi_label else stratified_split)(source, fraction, seed=seed)


def random_split(source: ImageSource, fraction: float, *, seed: int) -> tuple[ImageSource, ImageSource]:
    """As `split`, without regard to the labels."""
    images = len(source)
    drawn = int(fraction * images)
    if not 0 < drawn < images:
        raise DatasetError(
            f"{images} images can't be split into {fraction:g} and {1 - fraction:g}: a part is empty"
        )
    logger.info(
        "%d of %d training images are drawn at random: images with several labels have no strata",
        drawn,
        images,
    )
    is_drawn = np.zeros(images, dtype=bool)
    is_drawn[np.random.RandomState(seed).permutation(images)[:drawn]] = True
    return _divide(source, is_drawn)


def stratified_split(source: ImageSource, fraction: float, *, seed: int) -> tuple[ImageSource, ImageSource]:
    """Draw `fraction` of the images, with the same proportions of classes. Return them and the rest, in their order.

    Draws the same images as scikit-learn's train_test_split(stratify=labels, random_state=seed), whose import takes a
    second. Raises DatasetError if the drawn part would have no image of some class.
    """
    labels = source.labels.numpy()
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
    return _divide(source, is_drawn)


def _divide(source: ImageSource, is_drawn: np.ndarray) -> tuple[ImageSource, ImageSource]:
    first, rest = np.flatnonzero(is_drawn), np.flatnonzero(~is_drawn)
    return source.take(torch.from_numpy(first)), source.take(torch.from_numpy(rest))


def take_per_class(source: ImageSource, images: int, *, seed: int) -> ImageSource:
    """Draw `images` images of each class, or all of a class that has fewer, and keep their order.

    With one seed, the images of a smaller number are among those of a larger one.
    """
    labels = source.labels.numpy()
    random = np.random.RandomState(seed)
    drawn = [
        random.permutation(np.flatnonzero(labels == label))[:images] for label in range(len(source.classes))
    ]
    return source.take(torch.from_numpy(np.sort(np.concatenate(drawn))))


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
