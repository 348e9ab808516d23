"""The overrides of a command line in Hydra's grammar: parsed, and their sweeps counted and listed."""

import math
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import PurePath

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.errors import HydraException

from tenet.config.rules import flatten, truncate
from tenet.errors import ConfigError
from tenet.rules import FLAG, Kind, OneOf, OrNull, Rule

MAX_JOBS = 10_000
# A key that a resumed run may change. Hydra composes the default data set, which does not have it.
OF_RESUMED = "dataset.workers"

_PATH = Kind(
    "a path of 1 to 4,096 printable characters",
    lambda value: isinstance(value, str | int | float) and _is_name(str(value)),
)
# The only keys of Hydra's own that a command may set. All others can name code, or a file with code, that Hydra
# would import and call: callbacks, launchers, sweepers, logging handlers, search paths.
HYDRA_RULES: dict[str, Rule] = {
    "hydra.run.dir": _PATH,
    "hydra.sweep.dir": _PATH,
    "hydra.sweep.subdir": _PATH,
    "hydra.output_subdir": OrNull(_PATH),
    "hydra.job.chdir": OrNull(FLAG),
    "hydra.verbose": Kind(
        "true, false, a logger's name or a list of names",
        lambda value: (
            isinstance(value, bool) or all(map(_is_name, value if isinstance(value, list) else [value]))
        ),
    ),
    "hydra.job_logging.root.level": OneOf(("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")),
    "hydra.sweeper.max_batch_size": Kind("null or an integer", lambda value: isinstance(value, int | None)),
    "hydra/job_logging": OneOf(("tenet", "console", "disabled")),
    "hydra/launcher": OneOf(("tenet", "basic")),
}


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 4096 and value.isprintable()


def null_for_none(word: str) -> str:
    """Turn `key=None`, as W&B's agent and Python write it, into `key=null`. The text "None" needs quotes."""
    return re.sub(r"^([^=]+=)None$", r"\1null", word)


def as_argument(key: str, value: object) -> str:
    """`key=value` as text for a shell: pasted, it gives exactly the text of `value`. All printed commands use it."""
    return shlex.quote(as_override(key, value))


def as_override(key: str, value: object) -> str:
    """`key=value` in Hydra's grammar, quoted if the text would otherwise be read as anything else."""
    text = str(value)
    if isinstance(value, PurePath) and text.startswith("~"):
        text = f"./{text}"  # a leading ~ means a home folder
    if re.fullmatch(r"[A-Za-z./][A-Za-z0-9_./+-]*", text) and not _means_no_text(text):
        return f"{key}={text}"
    # Backslashes are themselves, except before an interpolation, a quote and the closing quote.
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    text = re.sub(r'(\\*)"', r'\1\1\\"', text)
    text = re.sub(r"(\\+)$", r"\1\1", text)
    return f'{key}="{text}"'


def _means_no_text(word: str) -> bool:
    """Whether Hydra reads the word as a number, true, false or null; None is read as null here."""
    with suppress(ValueError):
        float(word)
        return True
    return word.lower() in ("null", "none", "true", "false")


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


def typed_keys(words: Sequence[str]) -> frozenset[str]:
    """The dotted keys that the overrides of a command line set, in contrast to what an option brings with it."""
    overrides = [(override.key_or_group, override.value()) for override in parse(words)]
    return frozenset(key for key, value in flatten(dict(overrides))) | {key for key, _ in overrides}


def is_hydras(key: str) -> bool:
    return re.match(r"[+~]*hydra(?=[./]|$)", key) is not None


def check_origin(overrides: Sequence[Override]) -> None:
    """Refuse overrides through which a command could name code for Hydra to run.

    Raises ConfigError for a key of Hydra's own that is not in HYDRA_RULES, for a value that breaks its rule, and for
    a group in another package (`group@package=option`), because the package may be Hydra's.
    """
    for override in overrides:
        key = override.key_or_group
        if override.package is not None:
            raise ConfigError(
                f"{truncate(override.input_line)}: leave out @{override.package}; write {key}=OPTION"
            )
        if not is_hydras(key):
            continue
        rule = HYDRA_RULES.get(key)
        if rule is None or override.is_delete():
            raise ConfigError(
                f"{key}: not supported, because Hydra's own settings can name code to run; those that can be set "
                f"are {', '.join(HYDRA_RULES)}"
            )
        if not rule.allows(value := override.value()):
            raise ConfigError(f"{key}={truncate(value)}: must be {rule.describe()}")


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
