"""Rules for values: what an annotation allows, and markers for what a type alone can't say.

    groups: Annotated[int, at_least(1)] = 6
    mean: Annotated[Sequence[float], length(3)] = (0.5, 0.5, 0.5)
    max_steps: Annotated[int, at_least(1)] | None = None

Imports nothing of the package and no torch: a command line is checked in half a second.
"""

import math
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Protocol, Union
from unicodedata import category

MAX_LENGTH = 4096  # of a text and of a list
# Limits of numbers and integers whose annotation sets none: more than any training needs, and exact in 32-bit
# floats and 64-bit integers.
MAX_NUMBER = 10**6
MAX_INTEGER = 10**9


@typing.runtime_checkable
class Rule(Protocol):
    def allows(self, value: Any) -> bool: ...
    def describe(self) -> str: ...


@dataclass(frozen=True)
class Number:
    """A finite number from `low` to `high` (inclusive), greater than `above` and less than `below`."""

    low: int | float = -math.inf
    high: int | float = math.inf
    above: int | float = -math.inf
    below: int | float = math.inf
    integer: bool = False

    def allows(self, value: Any) -> bool:
        # bool is a subclass of int.
        if isinstance(value, bool) or not isinstance(value, int if self.integer else int | float):
            return False
        return self.low <= value <= self.high and self.above < value < self.below

    def describe(self) -> str:
        ends = {"at least": self.low, "more than": self.above, "at most": self.high, "less than": self.below}
        bounds = " and ".join(f"{words} {end:,}" for words, end in ends.items() if math.isfinite(end))
        return f"{'an integer' if self.integer else 'a number'}{' of ' if bounds else ''}{bounds}"


@dataclass(frozen=True)
class OneOf:
    options: tuple[Any, ...]

    def allows(self, value: Any) -> bool:
        return any(value == option and type(value) is type(option) for option in self.options)

    def describe(self) -> str:
        return ("one of " if len(self.options) > 1 else "") + ", ".join(map(str, self.options))


@dataclass(frozen=True)
class Kind:
    """A rule without arguments: a description and a function."""

    words: str
    allows: Callable[[Any], bool]

    def describe(self) -> str:
        return self.words


def _is_text(value: Any) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_LENGTH
        and all(character in "\n\t" or category(character) not in ("Cc", "Cs") for character in value)
    )


def _is_setting(value: Any) -> bool:
    parts = value if isinstance(value, list | tuple) else [value]
    number = Number(-MAX_NUMBER, MAX_NUMBER)
    return len(parts) <= 10 and all(
        part is None or isinstance(part, bool) or number.allows(part) for part in parts
    )


def _are_keywords(value: Any, depth: int = 0) -> bool:
    if isinstance(value, Mapping):
        names = all(isinstance(name, str) and name.isidentifier() and len(name) <= 100 for name in value)
        return (
            names
            and len(value) <= 100
            and depth < 5
            and all(_are_keywords(part, depth + 1) for part in value.values())
        )
    if isinstance(value, list | tuple):
        return len(value) <= 100 and depth < 5 and all(_are_keywords(part, depth + 1) for part in value)
    return depth > 0 and (_is_text(value) or _is_setting(value))


FLAG = Kind("true or false", lambda value: isinstance(value, bool))
# What a file name can hold: no control characters, no lone surrogates.
TEXT = Kind(f"a text of 1 to {MAX_LENGTH:,} characters without control characters", _is_text)
# For arguments whose annotation implies no rule: plain numbers, but no text and no nesting.
SETTING = Kind(
    f"a number from -{MAX_NUMBER:,} to {MAX_NUMBER:,}, true, false, null, or a list of these", _is_setting
)
# Arguments that are handed to another library: names of arguments and plain values, which may be nested.
KEYWORDS = Kind("arguments by name ({name: value}), with plain values", _are_keywords)


def to_number(value: int | float | str) -> float:
    """The value of a `Fraction`: a number, or text such as 8/255."""
    numerator, _, denominator = str(value).partition("/")
    return float(numerator) / float(denominator or 1)


def _is_fraction(value: Any) -> bool:
    is_text = isinstance(value, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?/[1-9]\d{0,8}", value) is not None
    return (is_text or Number(0).allows(value)) and to_number(value) <= MAX_NUMBER


@dataclass(frozen=True)
class ListOf:
    rule: Rule
    length: int | None = None

    def allows(self, value: Any) -> bool:
        return (
            isinstance(value, list | tuple)
            and (len(value) <= MAX_LENGTH if self.length is None else len(value) == self.length)
            and all(map(self.rule.allows, value))
        )

    def describe(self) -> str:
        size = "" if self.length is None else f"{self.length} of "
        return f"a list of {size}{self.rule.describe()}"


@dataclass(frozen=True)
class OrNull:
    rule: Rule

    def allows(self, value: Any) -> bool:
        return value is None or self.rule.allows(value)

    def describe(self) -> str:
        return f"{self.rule.describe()}, or null"


@dataclass(frozen=True)
class AnyOf:
    rules: tuple[Rule, ...]

    def allows(self, value: Any) -> bool:
        return any(rule.allows(value) for rule in self.rules)

    def describe(self) -> str:
        return " or ".join(rule.describe() for rule in self.rules)


class Mark(NamedTuple):
    """One limit in an `Annotated`: the name of a field of Number or ListOf, and its value."""

    name: str
    value: Any


at_least = partial(Mark, "low")
at_most = partial(Mark, "high")
above = partial(Mark, "above")
below = partial(Mark, "below")
length = partial(Mark, "length")

# The type of a number that is usually written as a fraction, such as the radius of an attack.
Fraction = Annotated[
    int | float | str, Kind("a number of at least 0, or a fraction such as 8/255", _is_fraction)
]


def rule_of(hint: Any, **limits: Any) -> Rule | None:
    """The rule that an annotation implies, with `limits` by the names of `Mark`; None if it implies none."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        if rule := next((mark for mark in args[1:] if isinstance(mark, Rule)), None):
            return rule
        return rule_of(args[0], **limits, **dict(mark for mark in args[1:] if isinstance(mark, Mark)))
    if origin is Literal:
        return OneOf(args)
    if origin in (Union, UnionType):
        kinds = [arg for arg in args if arg is not NoneType]
        if set(kinds) == {int, float}:
            kinds = [float]
        rules = [rule for kind in kinds if (rule := rule_of(kind, **limits)) is not None]
        if len(rules) < len(kinds):  # a union with a type that implies no rule
            return None
        rule = rules[0] if len(rules) == 1 else AnyOf(tuple(rules))
        return OrNull(rule) if rule is not None and NoneType in args else rule
    if origin in (Sequence, list):
        rule = rule_of(args[0])
        return None if rule is None else ListOf(rule, **limits)
    if origin is Mapping:
        return KEYWORDS
    if hint in (int, float):
        limit = MAX_INTEGER if hint is int else MAX_NUMBER
        low = {} if "above" in limits else {"low": -limit}
        high = {} if "below" in limits else {"high": limit}
        return Number(**{**low, **high, **limits}, integer=hint is int)
    return FLAG if hint is bool else TEXT if hint is str else None


def check_arguments(function: Any, values: Mapping[str, Any]) -> None:
    """Raise ValueError if one of `values`, by name, breaks the rule that the parameter's annotation implies.

    For constructors: `check_arguments(AugMix.__init__, locals())`.
    """
    for name, hint in typing.get_type_hints(function, include_extras=True).items():
        rule = rule_of(hint)
        if name in values and rule is not None and not rule.allows(values[name]):
            raise ValueError(f"{name}={values[name]!r} must be {rule.describe()}")
