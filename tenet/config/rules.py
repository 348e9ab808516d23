"""What each configuration key may hold. Checked before anything is built or read."""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from unicodedata import category

from tenet.errors import ConfigError

# The longest text, the longest list, and what a message repeats of either.
MAX_LENGTH = 4096
MAX_SHOWN = 200


@runtime_checkable
class Rule(Protocol):
    def allows(self, value: Any) -> bool: ...
    def describe(self) -> str: ...


@dataclass(frozen=True)
class Number:
    """A finite number from `low` to `high`; the ends belong to it unless they are `above` or `below`."""

    low: int | float | None = None
    high: int | float | None = None
    above: int | float | None = None
    below: int | float | None = None
    integer: bool = False

    def allows(self, value: Any) -> bool:
        # bool is a kind of int in Python, and not a number to anyone else.
        if isinstance(value, bool) or not isinstance(value, int if self.integer else int | float):
            return False
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def describe(self) -> str:
        ends = {"at least": self.low, "more than": self.above, "at most": self.high, "less than": self.below}
        bounds = " and ".join(f"{words} {end:,}" for words, end in ends.items() if end is not None)
        return f"{'an integer' if self.integer else 'a number'}{' of ' if bounds else ''}{bounds}"


@dataclass(frozen=True)
class OneOf:
    options: tuple[Any, ...]

    def allows(self, value: Any) -> bool:
        return any(value == option and type(value) is type(option) for option in self.options)

    def describe(self) -> str:
        return "one of " + ", ".join(map(str, self.options))


@dataclass(frozen=True)
class Flag:
    def allows(self, value: Any) -> bool:
        return isinstance(value, bool)

    def describe(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class Text:
    """Not empty, and without what no file or name can hold: control characters, halves of characters."""

    def allows(self, value: Any) -> bool:
        return (
            isinstance(value, str)
            and 0 < len(value) <= MAX_LENGTH
            and all(character in "\n\t" or category(character) not in ("Cc", "Cs") for character in value)
        )

    def describe(self) -> str:
        return f"a text of 1 to {MAX_LENGTH:,} characters without control characters"


@dataclass(frozen=True)
class ListOf:
    rule: Rule
    length: int | None = None

    def allows(self, value: Any) -> bool:
        if isinstance(value, str) or not isinstance(value, Sequence):
            return False
        fits = len(value) <= MAX_LENGTH if self.length is None else len(value) == self.length
        return fits and all(map(self.rule.allows, value))

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
class Setting:
    """What an argument without a rule of its own may be: no text names anything, and nothing is nested."""

    def allows(self, value: Any) -> bool:
        parts = value if isinstance(value, list | tuple) else [value]
        number = Number(-MANY, MANY)
        return len(parts) <= 10 and all(
            part is None or isinstance(part, bool) or number.allows(part) for part in parts
        )

    def describe(self) -> str:
        return f"a number from -{MANY:,} to {MANY:,}, true, false, null, or a list of these"


def integer(low: int, high: int | None = None) -> Number:
    return Number(low, high, integer=True)


# Beyond what anybody trains, and within what 32-bit floats and 64-bit integers can hold.
MANY = 10**6
STEPS = 10**9

SEED = integer(0, 2**63 - 1)
COUNT = integer(1, STEPS)
STEP = integer(0, STEPS)
NOT_NEGATIVE = Number(0, MANY)
POSITIVE = Number(above=0, high=MANY)
DEVICE = OneOf(("auto", "cpu", "cuda"))
PRECISION = OneOf(("fp32", "bf16"))

RULES: dict[str, Rule] = {
    "seed": SEED,
    "resume": OrNull(Text()),
    "rerun": Flag(),
    "dataset.name": OneOf(("cifar10", "cifar100")),
    "dataset.root": Text(),
    "dataset.path": Text(),
    "dataset.resize": OrNull(integer(1, 8192)),
    "dataset.crop": OrNull(integer(1, 8192)),
    "dataset.fraction": Number(above=0, high=1),
    "dataset.validation_fraction": Number(low=0, below=1),
    "dataset.split_seed": integer(0, 2**32 - 1),
    "dataset.mean": ListOf(Number(-MANY, MANY), 3),
    "dataset.std": ListOf(POSITIVE, 3),
    "backbone.depth": integer(8, 2000),
    "backbone.width": integer(1, 4096),
    "backbone.cardinality": integer(1, 1024),
    "backbone.base_width": integer(1, 1024),
    "backbone.widen_factor": integer(1, 64),
    "backbone.dropout": Number(0, below=1),
    "backbone.blocks": ListOf(integer(1, 200), 4),
    # The stages that backbones have; whether this one has it, the backbone itself tells later.
    "tenet.layer": OneOf(("stem", "stage_1", "stage_2", "stage_3", "stage_4")),
    "tenet.groups": COUNT,
    "tenet.weight": NOT_NEGATIVE,
    "tenet.orthogonality": NOT_NEGATIVE,
    "tenet.interval": COUNT,
    "tenet.start_step": STEP,
    "tenet.max_iterations": integer(1, 10_000),
    "tenet.tolerance": NOT_NEGATIVE,
    "augment.severity": Number(0.1, 10),
    "augment.width": integer(1, 100),
    "augment.depth": integer(0, 100),
    "augment.alpha": POSITIVE,
    "augment.flip": Flag(),
    "augment.padding": integer(0, 256),
    "augment.clean_view": Flag(),
    "optimizer.lr": POSITIVE,
    "optimizer.momentum": Number(low=0, below=1),
    "optimizer.nesterov": Flag(),
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.betas": ListOf(Number(low=0, below=1), 2),
    "optimizer.eps": POSITIVE,
    "optimizer.fused": OrNull(Flag()),
    "schedule.final_factor": Number(0, 1),
    "schedule.warmup_steps": STEP,
    "trainer.device": DEVICE,
    "trainer.precision": PRECISION,
    "trainer.channels_last": Flag(),
    "trainer.compile": Flag(),
    "trainer.deterministic": Flag(),
    "trainer.epochs": COUNT,
    "trainer.max_steps": OrNull(COUNT),
    "trainer.batch_size": COUNT,
    "trainer.evaluation_batch_size": COUNT,
    "trainer.log_every_steps": COUNT,
    "trainer.evaluate_every_epochs": COUNT,
    "trainer.checkpoint_every_steps": OrNull(COUNT),
    "trainer.checkpoint_every_minutes": OrNull(POSITIVE),
    "trainer.on_nonfinite": OneOf(("stop", "skip")),
    "trainer.max_nonfinite_steps": STEP,
    "tracking.project": Text(),
    "tracking.entity": OrNull(Text()),
    "tracking.name": OrNull(Text()),
    "tracking.group": OrNull(Text()),
    "tracking.job_type": Text(),
    "tracking.tags": ListOf(Text()),
    "tracking.notes": OrNull(Text()),
    "tracking.mode": OneOf(("auto", "online", "offline")),
    "tracking.code": Flag(),
    "tracking.artifacts": OneOf(("none", "weights", "checkpoints")),
    "tracking.init_timeout_s": POSITIVE,
    "tracking.finish_timeout_s": POSITIVE,
    "launcher.jobs": COUNT,
    "launcher.jobs_per_gpu": integer(1, 1000),
    "run": OrNull(Text()),
    "weights": OrNull(Text()),
    "corruptions.root": OrNull(Text()),
    "corruptions.names": OrNull(ListOf(Text())),
    "corruptions.severities": ListOf(integer(1, 5)),
    "corruptions.seed": SEED,
    "corruptions.normalize": OneOf(("auto", "none", "alexnet")),
    "measures.calibration": Flag(),
    "measures.likelihood": Flag(),
    "measures.per_class": Flag(),
    "measures.intervals": Flag(),
    "cifar101": OrNull(Text()),
    "cifar_p": OrNull(Text()),
    "save_predictions": Flag(),
    "device": DEVICE,
    "precision": PRECISION,
    "channels_last": OrNull(Flag()),
    "batch_size": COUNT,
    "output": OrNull(Text()),
}


# The optimizers are PyTorch's and take more arguments than the YAML lists: `+optimizer.amsgrad=true`.
OPEN_GROUP = "optimizer."


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a list is a value, and so is whatever a key with a rule holds."""
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key not in RULES:
            yield from flatten(value, f"{key}.")
        else:
            yield key, value


def check_rules(config: Mapping[str, Any]) -> None:
    """Raise ConfigError with the key, the value and the rule for the first value that breaks one, and for
    a key that nothing would read."""
    for key, value in flatten(config):
        rule = RULES.get(key)
        group, _, name = key.rpartition(".")
        if rule is None and name == "_target_" and group and "." not in group:
            continue  # which class it may be is for whoever builds it
        if rule is None and f"{group}." == OPEN_GROUP:
            rule = Setting()
        if rule is None:
            raise ConfigError(f"there is no key {truncate(key)}{did_you_mean(key[:MAX_SHOWN], RULES)}")
        if not rule.allows(value):
            hint = f"; write {key}=[{truncate(value)}]" if _lacks_brackets(rule, value) else ""
            raise ConfigError(f"{key}={truncate(value)}: must be {rule.describe()}{hint}")


def _lacks_brackets(rule: Rule, value: Any) -> bool:
    of_list = rule.rule if isinstance(rule, OrNull) else rule
    return isinstance(of_list, ListOf) and of_list.allows([value])


def truncate(value: Any) -> str:
    """For a message: not more than a line can hold."""
    try:
        text = str(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """`; did you mean a, b?`, or nothing where no candidate is like `name`, whole or by its last part."""

    def likeness(candidate: str) -> float:
        last_parts = difflib.SequenceMatcher(
            None, name.rpartition(".")[2], candidate.rpartition(".")[2]
        ).ratio()
        return max(difflib.SequenceMatcher(None, name, candidate).ratio(), 0.95 * last_parts)

    near = sorted(
        (candidate for candidate in candidates if likeness(candidate) > 0.6), key=likeness, reverse=True
    )
    return f"; did you mean {', '.join(near[:3])}?" if near else ""
