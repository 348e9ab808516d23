"""A W&B sweep definition as a search space: what varies, what is fixed, and what is sought."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml

from tenet import __version__
from tenet.config.rules import did_you_mean
from tenet.errors import ConfigError

METHODS = ("grid", "random", "bayes")
# The one metric that is neither learnt from nor reported.
METRICS = ("validation/error_pct",)
# What a sweep definition may say; the last six are W&B's own business.
FILE_KEYS = ("method", "metric", "parameters", "command", "run_cap", "program")
WANDB_KEYS = ("name", "description", "project", "entity", "early_terminate", "controller")
# W&B's distributions that are understood, and what each needs beside its name.
DISTRIBUTIONS = {
    "constant": ("value",),
    "categorical": ("values",),
    "int_uniform": ("min", "max"),
    "uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
    "q_uniform": ("min", "max", "q"),
}


class Choice(NamedTuple):
    values: tuple[Any, ...]


class Range(NamedTuple):
    """From low to high, both included; of integers if low is one. step: None is a continuum."""

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False


Parameter: TypeAlias = Choice | Range


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """parameters: those that vary. fixed: words of the command line that every run gets.

    name: of the study: the file's, and ten digits that are the same for the same space and package version.
    run_cap: how many runs the definition asks for, if it says.
    """

    name: str
    method: str
    metric: str
    goal: str
    parameters: Mapping[str, Parameter]
    fixed: tuple[str, ...]
    run_cap: int | None

    def words(self, values: Mapping[str, Any]) -> list[str]:
        """The command line of the run with these values of the parameters."""
        return [*self.fixed, *(word(key, values[key]) for key in self.parameters)]

    def variants(self) -> Iterator[list[str]]:
        """Command lines that show every value of a choice and both ends of a range, each beside the first
        values of the others."""
        first = {key: ends(parameter)[0] for key, parameter in self.parameters.items()}
        yield self.words(first)
        for key, parameter in self.parameters.items():
            for value in ends(parameter)[1:]:
                yield self.words({**first, key: value})

    @property
    def grid_points(self) -> int:
        return math.prod(len(points(parameter)) for parameter in self.parameters.values())


def word(key: str, value: Any) -> str:
    """`key=value` as W&B's agent writes it, but null, true and false as in YAML."""
    written = json.dumps(value) if value is None or isinstance(value, bool) else str(value)
    return f"{key}={written}"


def ends(parameter: Parameter) -> tuple[Any, ...]:
    return parameter.values if isinstance(parameter, Choice) else (parameter.low, parameter.high)


def points(parameter: Parameter) -> tuple[Any, ...]:
    """All values that a grid visits."""
    if isinstance(parameter, Choice):
        return parameter.values
    assert parameter.step is not None
    count = round((parameter.high - parameter.low) / parameter.step) + 1
    # Rounded: 0.1 + 2 * 0.1 is 0.30000000000000004.
    return tuple(round(parameter.low + index * parameter.step, 12) for index in range(count))


def read_space(path: Path, overrides: Sequence[str] = ()) -> SearchSpace:
    """The space of a definition, with `overrides` fixed; one for a parameter takes its place.

    Raises ConfigError naming the file, the key, the rule and the remedy.
    """
    try:
        return _space(_read_yaml(path), stem=path.stem, overrides=overrides)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"can't be read ({error.strerror}); there are examples in sweeps/") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError("holds no sweep definition: it needs method, metric and parameters")
    return content


def _space(content: Mapping[str, Any], *, stem: str, overrides: Sequence[str]) -> SearchSpace:
    for key in content:
        if key not in (*FILE_KEYS, *WANDB_KEYS):
            raise ConfigError(f"{key} is no key of a sweep{did_you_mean(str(key), FILE_KEYS)}")
    _require("method", content.get("method"), METHODS)
    _require("program", content.get("program", "train.py"), ("train.py",))
    metric = content.get("metric")
    if not isinstance(metric, dict):
        raise ConfigError(f"metric is missing: give metric.name, such as {METRICS[0]}")
    _require("metric.name", metric.get("name"), METRICS)
    _require("metric.goal", metric.get("goal", "minimize"), ("minimize", "maximize"))
    run_cap = content.get("run_cap")
    if run_cap is not None and (not isinstance(run_cap, int) or run_cap < 1):
        raise ConfigError(f"run_cap={run_cap}: must be an integer of at least 1")
    described = content.get("parameters")
    if not described or not isinstance(described, dict):
        raise ConfigError("parameters is missing: a mapping of dotted keys, such as tenet.groups")
    overridden = {override.partition("=")[0] for override in overrides}
    parameters = {
        str(key): _parameter(f"parameters.{key}", value, is_grid=content["method"] == "grid")
        for key, value in described.items()
        if key not in overridden
    }
    varying = {key: parameter for key, parameter in parameters.items() if len(ends(parameter)) > 1}
    if not varying:
        raise ConfigError("nothing varies: give a parameter several values, or min and max")
    constants = [word(key, ends(value)[0]) for key, value in parameters.items() if key not in varying]
    # Words of the command that are no macros of W&B's, such as trainer.precision=bf16, are for every run.
    command = content.get("command") or []
    if not (isinstance(command, list) and all(isinstance(part, str) for part in command)):
        raise ConfigError(f"command={command}: must be a list of words")
    literal = [part for part in command if "=" in part and not part.startswith(("$", "-"))]
    fixed = (*literal, *constants, *overrides)
    sought = (content["method"], metric["name"], metric.get("goal", "minimize"))
    digest = hashlib.sha256(repr((__version__, sought, sorted(varying.items()), fixed)).encode())
    return SearchSpace(
        name=f"{stem}-{digest.hexdigest()[:10]}",
        method=sought[0],
        metric=sought[1],
        goal=sought[2],
        parameters=varying,
        fixed=fixed,
        run_cap=run_cap,
    )


def _require(key: str, value: Any, options: Sequence[str]) -> None:
    if value not in options:
        raise ConfigError(f"{key}={value}: must be {' or '.join(options)}{did_you_mean(str(value), options)}")


def _parameter(key: str, described: Any, *, is_grid: bool) -> Parameter:
    """A parameter from W&B's description of it; `key` is where it stands, for the messages."""
    if not isinstance(described, dict):
        raise ConfigError(f"{key}={described}: must be a mapping with value, values, or min and max")
    given = dict(described)
    name = given.pop("distribution", None) or _default_distribution(given)
    if not isinstance(name, str) or name not in DISTRIBUTIONS:
        raise ConfigError(
            f"{key}.distribution={name}: not understood{did_you_mean(str(name), DISTRIBUTIONS)}; "
            f"understood are {', '.join(DISTRIBUTIONS)}"
        )
    needed = DISTRIBUTIONS[name]
    if set(given) != set(needed):
        raise ConfigError(f"{key} has {', '.join(given) or 'nothing'}: {name} needs {' and '.join(needed)}")
    if name == "constant":
        return Choice((_plain(given["value"]),))
    if name == "categorical":
        if not isinstance(given["values"], list) or not given["values"]:
            raise ConfigError(f"{key}.values={given['values']}: must be a list of values")
        return Choice(tuple(dict.fromkeys(map(_plain, given["values"]))))
    found = _range(key, name, given)
    if is_grid and found.step is None:
        raise ConfigError(f"{key}: a grid needs values, and {name} has no end of them")
    return found


def _default_distribution(given: Mapping[str, Any]) -> str:
    """What W&B takes where no distribution is named."""
    if "value" in given or "values" in given:
        return "constant" if "value" in given else "categorical"
    integers = all(isinstance(given.get(name), int) for name in ("min", "max"))
    return "int_uniform" if integers else "uniform"


def _range(key: str, name: str, given: Mapping[str, Any]) -> Range:
    for end, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            hint = "; YAML takes 1e-4 for text, write 1.0e-4" if isinstance(value, str) else ""
            raise ConfigError(f"{key}.{end}={value}: must be a number{hint}")
    low, high = given["min"], given["max"]
    if low >= high:
        raise ConfigError(f"{key}.min={low}: must be below max={high}")
    if name == "log_uniform_values" and low <= 0:
        raise ConfigError(f"{key}.min={low}: must be more than 0 for {name}")
    if name == "int_uniform":
        if not (isinstance(low, int) and isinstance(high, int)):
            raise ConfigError(f"{key}: int_uniform needs integers as min and max")
        return Range(low, high, step=1)
    if name == "q_uniform":
        step = given["q"]
        # W&B rounds to multiples of q, Optuna steps by q from min: so they agree.
        if step <= 0 or any(not math.isclose(end / step, round(end / step)) for end in (low, high)):
            raise ConfigError(f"{key}.q={step}: min={low} and max={high} must be multiples of it")
        if all(isinstance(number, int) for number in (low, high, step)):
            return Range(low, high, step=step)
        return Range(float(low), float(high), step=float(step))
    return Range(float(low), float(high), log=name == "log_uniform_values")


def _plain(value: Any) -> Any:
    """Lists as the text that stands on the command line: values are compared, stored and shown."""
    return str(value) if isinstance(value, list | dict) else value
