"""The overrides of a command line in Hydra's grammar: parsed, and their sweeps counted and listed."""

import math
import re
from collections.abc import Iterator, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.errors import HydraException

from tenet.config.rules import truncate
from tenet.errors import ConfigError

MAX_JOBS = 10_000


def null_for_none(word: str) -> str:
    """Turn `key=None`, as W&B's agent and Python write it, into `key=null`. The text "None" needs quotes."""
    return re.sub(r"^([^=]+=)None$", r"\1null", word)


def parse(words: Sequence[str]) -> list[Override]:
    """Raises ConfigError for a word that is not an override."""
    parser = OverridesParser.create()
    parsed = []
    for word in words:
        try:
            parsed.append(parser.parse_override(word))
            if not parsed[-1].key_or_group:
                raise ValueError("no key")
        except (HydraException, ValueError, RecursionError) as error:
            # ValueError: a number of thousands of digits. RecursionError: thousands of brackets.
            raise ConfigError(
                f"{truncate(word)} can't be read as KEY=VALUE; put special characters in '\"quotes\"'"
            ) from error
    return parsed


def is_hydras(key: str) -> bool:
    return re.match(r"[+~]*hydra(?=[./]|$)", key) is not None


def variants(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Override lists without sweeps: the first value of every sweep, then each other value in turn, with the
    first values of the rest. A range counts as its two ends. Raises ConfigError for too many jobs."""
    jobs = math.prod(map(_count, overrides))
    if not 1 <= jobs <= MAX_JOBS:
        raise ConfigError(f"the sweep has {jobs:,} jobs; it must have 1 to {MAX_JOBS:,}")
    values = [options for options in map(_values, overrides) if options]
    first = [options[0] for options in values]
    yield first
    for index, options in enumerate(values):
        for other in options[1:]:
            yield [*first[:index], other, *first[index + 1 :]]


def _count(override: Override) -> int:
    """The number of a sweep's values; 1 for globs and intervals, which only their sweepers can list."""
    sweep = override.value() if override.is_sweep_override() else None
    if isinstance(sweep, ChoiceSweep):
        return len(sweep.list)
    if not isinstance(sweep, RangeSweep):
        return 1
    if sweep.start is None or sweep.stop is None or not sweep.step:
        raise ConfigError(f"{override.input_line}: a range needs a start, a stop, and a step that is not 0")
    steps = (sweep.stop - sweep.start) / sweep.step
    return max(0, math.ceil(min(steps, 10**18)))


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.input_line or ""]
    if not isinstance(override.value(), ChoiceSweep | RangeSweep):
        return []
    values = [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    return values if override.is_choice_sweep() else values[:: max(1, len(values) - 1)]
