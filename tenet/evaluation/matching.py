"""Whether a data set fits a network: the order of its classes, and the size of its images."""

import logging
from collections.abc import Sequence

import torch

from tenet.data import ImageSource
from tenet.errors import DatasetError, printable

logger = logging.getLogger("tenet")

MAX_LISTED = 10  # class names in a message


def match_classes(
    of_network: Sequence[str], of_data: Sequence[str], *, where: str, is_own: bool = False
) -> tuple[int, ...] | None:
    """The network's output for each class of the data, by name; None if both have the same classes in the same order.

    Names that are numbers on both sides are compared as numbers. Data without class names has the numbers 0, 1, 2,
    ...: if the classes of one side alone are such numbers, they are taken in their order, with a warning.
    where: the data, for messages. is_own: whether it is the data that the network was trained on.
    Raises DatasetError if the classes differ.
    """
    known, found = list(of_network), list(of_data)
    if known == found:
        if _are_unnamed(found) and not is_own:
            logger.info("%s: its classes are numbers, taken to be numbered as in training", where)
        return None
    if _are_numbers(known) and _are_numbers(found):
        known, found = ([str(int(name)) for name in names] for names in (known, found))
    elif len(known) == len(found) and (_are_unnamed(known) or _are_unnamed(found)):
        named, unnamed = ("network", "data") if _are_unnamed(found) else ("data", "network")
        logger.warning(
            "%s: the %s has no class names, only numbers; they are taken to be the classes of the %s in their order: %s",
            where, unnamed, named, some_names(known if named == "network" else found),
        )  # fmt: skip
        return None
    if set(known) != set(found) or not len(known) == len(found) == len(set(known)):
        only = {
            "only the network has": [name for name in known if name not in found],
            "only the data has": [name for name in found if name not in known],
        }
        differences = [f"{whose} {some_names(names)}" for whose, names in only.items() if names]
        raise DatasetError(
            f"{where}: its {len(found)} classes are not the network's {len(known)}: "
            f"{'; '.join(differences) or 'a name occurs twice'}. Give data of the same classes, under the same names"
        )
    order = tuple(known.index(name) for name in found)
    if order == tuple(range(len(order))):
        return None
    logger.info("%s has the network's classes in another order; they are matched by name", where)
    return order


def matching_note(of_network: Sequence[str], of_data: Sequence[str]) -> str:
    """A line for the report if classes were matched by their position, because one side has no names."""
    if len(of_network) != len(of_data) or _are_unnamed(of_network) == _are_unnamed(of_data):
        return ""
    if _are_numbers(of_network) and _are_numbers(of_data):
        return ""
    return "classes matched by position: the network or the data has numbers in place of names"


def missing_classes_note(data: ImageSource, *, part: str) -> str:
    """A line if some classes have no image, as in the first images of a data set that is sorted by class. part: training
    or test."""
    counts = zip(data.classes, data.images_by_class(), strict=True)
    missing = [name for name, count in counts if not count]
    return (
        f"{len(missing)} of the {len(data.classes)} classes have no {part} image: {some_names(missing)}"
        if missing
        else ""
    )


def _are_numbers(names: Sequence[str]) -> bool:
    return all(name.isascii() and name.isdecimal() and len(name) < MAX_LISTED for name in names)


def _are_unnamed(names: Sequence[str]) -> bool:
    return list(names) == [str(index) for index in range(len(names))]


def some_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(printable(name) for name in names[:MAX_LISTED]) + more


def warn_of_other_size(test: ImageSource, image_size: Sequence[int] | None, *, where: str) -> None:
    """Log a warning unless the test images have the size of the network's training images, as far as it is known."""
    if image_size is None:
        return
    height, width = next(iter(test.batches([torch.tensor([0])]))).images.shape[1:3]
    if (height, width) != tuple(image_size):
        logger.warning(
            "%s: its images are %d x %d pixels, but the network was trained on %d x %d",
            where, width, height, image_size[1], image_size[0],
        )  # fmt: skip
