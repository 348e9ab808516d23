"""What a network expects of its images and what its outputs mean: saved with its weights."""

from collections.abc import Mapping
from typing import Any, NamedTuple

MAX_CLASS_NAME, MAX_SIDE, MAX_NUMBER = 1000, 10**5, 10**6


class Interface(NamedTuple):
    """mean, std: of images in [0, 1], by channel. classes: names in the order of the outputs; empty if unknown.

    image_size: height and width of the training images; None if unknown.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...] = ()
    image_size: tuple[int, ...] | None = None

    @classmethod
    def from_plain(cls, value: object) -> "Interface":
        """Check what was read from a file: a mapping of lists. Raises ValueError if it is no such mapping."""
        if not isinstance(value, Mapping):
            raise ValueError("its description of the network is not a mapping")
        mean, std = (_numbers(value, name) for name in ("mean", "std"))
        if min(std) <= 0:
            raise ValueError(f"its std is {list(std)}, not above 0")
        classes, size = value.get("classes") or (), value.get("image_size")
        if not isinstance(classes, list | tuple) or not all(map(_is_name, classes)):
            raise ValueError("its class names are not printable strings")
        is_size = isinstance(size, list | tuple) and len(size) == 2 and all(map(_is_side, size))
        if size is not None and not is_size:
            raise ValueError("its image size is not a height and a width")
        return cls(mean, std, tuple(classes), None if size is None else tuple(size))


def _numbers(value: Mapping[Any, Any], name: str) -> tuple[float, ...]:
    numbers = value.get(name)
    if not isinstance(numbers, list | tuple) or len(numbers) != 3 or not all(map(_is_number, numbers)):
        raise ValueError(f"its {name} is not three finite numbers")
    return tuple(map(float, numbers))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_NUMBER


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_CLASS_NAME and value.isprintable()


def _is_side(value: object) -> bool:
    return type(value) is int and 0 < value <= MAX_SIDE
