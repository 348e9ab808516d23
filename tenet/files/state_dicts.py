"""Where in a file a network's weights are: under which key or prefix, and under which of their usual names."""

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tenet.errors import CheckpointError, printable
from tenet.files.interface import Interface
from tenet.files.names import TOP_LEVEL_KEY

logger = logging.getLogger("tenet")

# The number of names that a message lists, and the number of characters of each.
MAX_LISTED, MAX_LENGTH = 10, 100
MAX_DEPTH = 8  # of nested mappings
# torch.compile adds this to the names of every module that it compiles, at any depth.
COMPILED = re.compile(r"(?:(?<=\.)|^)_orig_mod\.")
# Averaged copies of weights are taken only if there are no others, or if they are asked for.
AVERAGED = re.compile(r"(?:^|[._])(?:ema|swa|avg|averaged?|shadow|teacher)(?:[._\d]|$)", re.IGNORECASE)
# What DataParallel, DistributedDataParallel and AveragedModel add to every name.
WRAPPER = "module"
# The last parts of the names of a normalisation that is saved with the weights; mu and sigma are RobustBench's.
MEANS, STDS = ("mu", "mean", "means"), ("sigma", "std", "stds")
# BatchNorm's counter, which old files lack. Only BatchNorm with momentum=None reads it.
COUNTER = "num_batches_tracked"


class Place(NamedTuple):
    """A prefix of the names in a file, such as `state_dict.net.`, and the weights under it by the model's names."""

    prefix: str
    weights: dict[str, Tensor]

    @property
    def key(self) -> str:
        return self.prefix.removesuffix(".") or TOP_LEVEL_KEY


def flatten_tensors(content: object, *, path: object) -> dict[str, Tensor]:
    """The tensors of a file by name: a nested mapping's key is the first part of its names, as in `model.fc.weight`.

    Raises CheckpointError if compiled and other modules hold different tensors of one name.
    """
    return _rename(_tensors_below(content), lambda name: COMPILED.sub("", name), path=path)


def _tensors_below(content: object, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    if not isinstance(content, Mapping) or depth > MAX_DEPTH:
        return
    for key, value in content.items():
        # Other kinds of keys occur in the states of optimizers.
        if isinstance(key, str) and isinstance(value, Tensor):
            yield prefix + key, value
        elif isinstance(key, str):
            yield from _tensors_below(value, f"{prefix}{key}.", depth + 1)


def _rename(
    tensors: Iterable[tuple[str, Tensor]], rename: Callable[[str], str], *, path: object
) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    earlier: dict[str, str] = {}
    for old, tensor in tensors:
        name = rename(old)
        _refuse_collision(renamed.get(name, tensor), tensor, (earlier.setdefault(name, old), old), path=path)
        renamed[name] = tensor
    return renamed


def _refuse_collision(
    first: Tensor, second: Tensor, names: tuple[str, str], *, path: object, remedy: str = ""
) -> None:
    if first is not second and not _equal(first, second):
        raise CheckpointError(
            f"{path} holds different values as {' and '.join(map(_shown, names))}, which are one weight; save one "
            f"network's state dict alone{remedy}"
        )


def find_normalization(tensors: Mapping[str, Tensor]) -> tuple[Interface, set[str]] | None:
    """The normalisation among the tensors of a file, and the names of its two tensors; None if there is none.

    It is a pair such as `mu` and `sigma`, or `0.mean` and `0.std`, of one or three numbers each. Numbers above 1 are of
    pixel values from 0 to 255, and are divided by 255.
    """
    for name, mean in tensors.items():
        parent, dot, last = name.rpartition(".")
        if last not in MEANS:
            continue
        other = f"{parent}{dot}{STDS[MEANS.index(last)]}"
        std = tensors.get(other)
        if std is not None and mean.numel() in (1, 3) and std.numel() in (1, 3):
            scale = 255 if float(mean.max()) > 1 else 1
            values = (
                (each.double() / scale).flatten().tolist() * (3 // each.numel()) for each in (mean, std)
            )
            plain = dict(zip(("mean", "std"), values, strict=True))
            return Interface.from_plain(plain), {name, other}
    return None


def find_state_dict(
    model: nn.Module, tensors: Mapping[str, Tensor], *, path: object, key: str | None, known: Container[str]
) -> dict[str, Tensor]:
    """The state dict of `model`, from among the tensors of a file.

    key: where in the file it is, such as `model_ema`, or `TOP_LEVEL_KEY`. Without it averaged copies are passed over, and a
    message says so. known: names of other tensors, which may be left out.
    Raises CheckpointError if no part of the file fits, or if several do and none is preferred.
    """
    state = model.state_dict()
    expected = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    named = _rename(tensors.items(), lambda name: _own_name(model, name), path=path)
    places = _places(named, expected)
    whole = [place for place in places if _fits(place, expected)]
    chosen = _pick(places, expected, key=key, path=path)
    used = {place.prefix + name for place in (*whole, chosen) for name in state}
    within = "" if key in (None, TOP_LEVEL_KEY) else f"{key}."
    unused = re.compile(getattr(model, "unused_names", "$^"))
    others = [name for name in named if name.startswith(within) and name not in used and name not in known]
    spare = [name for name in others if not unused.search(name)]
    copies = _copies(chosen, spare)
    if key is not None and chosen.key == key:
        spare = [name for name in spare if name not in copies]
    elif whole:
        _refuse_copies(copies, chosen, named, path=path)
    problems = {
        "missing": sorted(expected.keys() - chosen.weights.keys()),
        "unexpected": [name for name in spare if name.startswith(chosen.prefix)],
        "misshapen": [
            f"{name} ({list(tensor.shape)} instead of {list(expected[name].shape)})"
            for name, tensor in sorted(chosen.weights.items())
            if tensor.shape != expected[name].shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{kind}: {_some(names)}" for kind, names in problems.items() if names)
        raise CheckpointError(f"{path} does not fit {type(model).__name__}: {listed}")
    if others:
        logger.info("%s: other tensors are left out: %s", path, _some(others))
    return {name: named.get(chosen.prefix + name, tensor) for name, tensor in state.items()}


def _own_name(model: nn.Module, name: str) -> str:
    """The model's own name of a weight that other implementations of the same network name differently."""
    for pattern, own in getattr(model, "other_names", {}).items():
        name = re.sub(pattern, own, name)
    return name


def _places(tensors: Mapping[str, Tensor], expected: Container[str]) -> list[Place]:
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        parts = name.split(".")
        for index in range(min(len(parts), 2 * MAX_DEPTH)):
            if (own := ".".join(parts[index:])) in expected:
                found["".join(f"{part}." for part in parts[:index])][own] = tensor
    return [Place(prefix, weights) for prefix, weights in found.items()]


def _pick(places: list[Place], expected: Mapping[str, Tensor], *, key: str | None, path: object) -> Place:
    """The weights that are meant. If none fit, the nearest ones, for the message.

    Raises CheckpointError if several fit and none is preferred, or if there are none under `key`.
    """

    def is_meant(place: Place) -> bool:
        return key in (None, place.key) or place.prefix.startswith(f"{key}.")

    below = [place for place in places if is_meant(place)]
    if key is not None and not below:
        there = _some([place.key for place in places]) or "no key"
        raise CheckpointError(
            f"weights_key={key}: {path} holds no weights of this network under it; they are under {there}"
        )
    fitting = [place for place in below if _fits(place, expected)]
    exact = [place for place in fitting if place.key == key]
    if fitting:
        return _choose(exact or fitting, path=path)
    return max(below, key=_size, default=Place("", {}))


def _size(place: Place) -> int:
    return len(place.weights)


def _fits(place: Place, expected: Mapping[str, Tensor]) -> bool:
    return place.weights.keys() == expected.keys() and all(
        tensor.shape == expected[name].shape for name, tensor in place.weights.items()
    )


def _choose(fitting: list[Place], *, path: object) -> Place:
    different: list[Place] = []
    for place in fitting:
        if not any(_is_copy(place, other) for other in different):
            different.append(place)
    plain = [place for place in different if not AVERAGED.search(place.key)] or different
    if len(plain) > 1:
        keys = (_shown(place.key) for place in plain)
        raise CheckpointError(
            f"{path} holds several weights that fit and differ, as {_some([*_first_names(plain)])}; choose with "
            f"weights_key={' or weights_key='.join(keys)}"
        )
    if len(different) > 1:
        others = [place.key for place in different if place is not plain[0]]
        logger.warning(
            "%s: the weights are those of %s; for those of %s give weights_key=%s",
            path, _shown(plain[0].key) if plain[0].prefix else "the top level", _some(others), _shown(others[0]),
        )  # fmt: skip
    return plain[0]


def _first_names(places: Iterable[Place]) -> Iterator[str]:
    return (place.prefix + min(place.weights) for place in places)


def _is_copy(first: Place, second: Place) -> bool:
    return all(_equal(tensor, second.weights[name]) for name, tensor in first.weights.items())


def _copies(chosen: Place, spare: Iterable[str]) -> dict[str, str]:
    """The names among `spare` by which the file also holds a weight, as `module.x` of `x`, and the weight's name."""

    def unwrapped(name: str) -> tuple[str, ...]:
        return tuple(part for part in name.split(".") if part != WRAPPER)

    parts = chosen.prefix.split(".")
    above = ["".join(f"{part}." for part in parts[:length]) for length in range(len(parts))]
    own = {outer + name: name for outer in above for name in chosen.weights}
    own_unwrapped = {unwrapped(chosen.prefix + name): name for name in chosen.weights}
    found = {other: own.get(other) or own_unwrapped.get(unwrapped(other)) for other in spare}
    return {other: name for other, name in found.items() if name is not None}


def _refuse_copies(
    copies: Mapping[str, str], chosen: Place, named: Mapping[str, Tensor], *, path: object
) -> None:
    """Raise CheckpointError if a copy has other values."""
    for other, name in copies.items():
        names = (chosen.prefix + name, other)
        remedy = f", or choose with weights_key={_shown(chosen.key)}"
        _refuse_collision(chosen.weights[name], named[other], names, path=path, remedy=remedy)


def _equal(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return torch.equal(first.nan_to_num(nan=-1.5), second.nan_to_num(nan=-1.5))


def _shown(name: str) -> str:
    return printable(name[:MAX_LENGTH])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(_shown(name) for name in names[:MAX_LISTED]) + more
