"""Read a W&B sweep definition as a search space of Optuna's distributions."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tenet import __version__
from tenet.config.overrides import check_origin, is_hydras, parse
from tenet.config.rules import did_you_mean, truncate
from tenet.errors import ConfigError
from tenet.files.plain import read_yaml

METHODS = ("grid", "random", "bayes")
# The metrics that are neither trained on nor reported as a result; the second needs `validation.corruptions`.
METRICS = ("validation/error_pct", "validation/corrupted_error_pct")
FILE_KEYS = ("method", "metric", "parameters", "command", "run_cap", "program")
# Keys of a sweep definition that concern W&B only.
WANDB_KEYS = ("name", "description", "project", "entity", "early_terminate", "controller")
# The macros of W&B's agent for the parts of a command that the search supplies itself.
MACROS = (
    "${env}",
    "${interpreter}",
    "${program}",
    "${args}",
    "${args_no_hyphens}",
    "${args_no_boolean_flags}",
)
MAX_VALUES = 1_000  # of all choices together; train.py's checks of each take some 20 ms
MAX_GRID = 10_000
# The supported distributions of W&B, and the keys that each requires.
DISTRIBUTIONS = {
    "constant": ("value",),
    "categorical": ("values",),
    "int_uniform": ("min", "max"),
    "uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
    "q_uniform": ("min", "max", "q"),
}


Parameter: TypeAlias = CategoricalDistribution | FloatDistribution | IntDistribution


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """parameters: those that vary. fixed: arguments of every run. run_cap: the number of runs, if the file has one.

    name: of the study. It consists of the file's name and a hash of the space and the package version.
    """

    name: str
    method: str
    metric: str
    goal: Literal["minimize", "maximize"]
    parameters: Mapping[str, Parameter]
    fixed: tuple[str, ...]
    run_cap: int | None

    def words(self, values: Mapping[str, Any]) -> list[str]:
        """Return the arguments of train.py for these values of the parameters."""
        return [*self.fixed, *(word(key, values[key]) for key in self.parameters)]

    def variants(self) -> Iterator[list[str]]:
        """Yield arguments that cover each value of a choice and both ends of a range, one parameter at a time."""
        first = {key: ends(parameter)[0] for key, parameter in self.parameters.items()}
        yield self.words(first)
        for key, parameter in self.parameters.items():
            for value in ends(parameter)[1:]:
                yield self.words({**first, key: value})

    @property
    def grid_points(self) -> int:
        return math.prod(map(_grid_values, self.parameters.values()))


def word(key: str, value: Any) -> str:
    """Return `key=value` as W&B's agent writes it, but with null, true and false as in YAML."""
    written = json.dumps(value) if value is None or isinstance(value, bool) else str(value)
    return f"{key}={written}"


def ends(parameter: Parameter) -> tuple[Any, ...]:
    """Return all values of a choice, or both ends of a range."""
    if isinstance(parameter, CategoricalDistribution):
        return parameter.choices
    return (parameter.low, parameter.high)


def points(parameter: Parameter) -> tuple[Any, ...]:
    """Return the values that a grid visits."""
    if isinstance(parameter, CategoricalDistribution):
        return parameter.choices
    assert parameter.step is not None
    count = _grid_values(parameter)
    # Rounded: 0.1 + 2 * 0.1 is 0.30000000000000004.
    return tuple(round(parameter.low + index * parameter.step, 12) for index in range(count))


def _grid_values(parameter: Parameter) -> int:
    if isinstance(parameter, CategoricalDistribution):
        return len(parameter.choices)
    return round((parameter.high - parameter.low) / (parameter.step or 1)) + 1


def read_space(path: Path, overrides: Sequence[str] = ()) -> SearchSpace:
    """Read a sweep definition. An override replaces the parameter of the same key.

    The file is not trusted: it sets keys of this project only, to values without `${...}`.
    Raises ConfigError, which names the file, the key, the rule and the remedy.
    """
    try:
        content = read_yaml(path)
        if not isinstance(content, dict):
            raise ConfigError("is not a sweep definition: it needs method, metric and parameters")
        return _space(content, stem=path.stem, overrides=overrides)
    except OSError as error:
        raise ConfigError(
            f"{path}: can't be read ({error.strerror or 'it is not a plain file'}); there are examples in sweeps/"
        ) from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is not YAML of plain values: {error}") from error


def _space(content: Mapping[str, Any], *, stem: str, overrides: Sequence[str]) -> SearchSpace:
    _check(content)
    method, metric = content["method"], {"goal": "minimize", **content["metric"]}
    overridden = {override.partition("=")[0] for override in overrides}
    parameters = {
        key: _parameter(f"parameters.{key}", value, is_grid=method == "grid")
        for key, value in content["parameters"].items()
        if key not in overridden
    }
    varying = {key: parameter for key, parameter in parameters.items() if len(ends(parameter)) > 1}
    if not varying:
        raise ConfigError("nothing varies: give a parameter several values, or min and max")
    if (values := sum(len(ends(parameter)) for parameter in varying.values())) > MAX_VALUES:
        raise ConfigError(
            f"parameters: {values:,} values; give min and max instead of more than {MAX_VALUES:,}"
        )
    if method == "grid" and (number := math.prod(map(_grid_values, varying.values()))) > MAX_GRID:
        raise ConfigError(
            f"the grid has {number:,} points; it must have at most {MAX_GRID:,}, or use method: random"
        )
    constants = [word(key, ends(value)[0]) for key, value in parameters.items() if key not in varying]
    # Arguments in `command`, such as trainer.precision=bf16, apply to every run.
    of_file = (*(part for part in content.get("command") or () if "=" in part), *constants)
    _check_words([*of_file, *(word(key, value) for key in varying for value in ends(varying[key]))])
    fixed = (*of_file, *overrides)
    varied = {key: value for key, value in content["parameters"].items() if key in varying}
    objective = (method, metric["name"], metric["goal"])
    identity = json.dumps([__version__, objective, varied, fixed], sort_keys=True, default=str)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    return SearchSpace(
        name=f"{stem}-{digest}",
        method=method,
        metric=metric["name"],
        goal=metric["goal"],
        parameters=varying,
        fixed=fixed,
        run_cap=content.get("run_cap"),
    )


def _check(content: Mapping[str, Any]) -> None:
    """Check all of a sweep definition but its parameters."""
    for key in content:
        if key not in (*FILE_KEYS, *WANDB_KEYS):
            raise ConfigError(f"{truncate(key)} is not a key of a sweep{did_you_mean(str(key), FILE_KEYS)}")
    for key, example in (("metric", f"name: {METRICS[0]}"), ("parameters", "tenet.groups: {values: [2, 4]}")):
        if not content.get(key) or not isinstance(content[key], dict):
            raise ConfigError(f"{key} is missing: give a mapping, such as {{{example}}}")
    metric, run_cap = content["metric"], content.get("run_cap")
    for key, value, options in (
        ("method", content.get("method"), METHODS),
        ("program", content.get("program", "train.py"), ("train.py",)),
        ("metric.name", metric.get("name"), METRICS),
        ("metric.goal", metric.get("goal", "minimize"), ("minimize", "maximize")),
    ):
        if value not in options:
            hint = did_you_mean(str(value), options)
            raise ConfigError(f"{key}={truncate(value)}: must be {' or '.join(options)}{hint}")
    if run_cap is not None and (type(run_cap) is not int or run_cap < 1):
        raise ConfigError(f"run_cap={run_cap}: must be an integer of at least 1")
    command = content.get("command") or []
    if not (isinstance(command, list) and all(isinstance(part, str) for part in command)):
        raise ConfigError(f"command={truncate(command)}: must be a list of words")
    for part in command:
        is_setting = "=" in part and not part.startswith(("-", "$"))
        if not is_setting and part not in MACROS and part.startswith(("-", "$")):
            raise ConfigError(
                f"command: {truncate(part)}: not supported; a search reads KEY=VALUE and the macros {', '.join(MACROS)}"
            )


def _check_words(words: Sequence[str]) -> None:
    """Raise ConfigError for a word of the file that sets anything but a key of this project, or is interpolated."""
    overrides = parse(words)
    check_origin(overrides)
    for override in overrides:
        # launcher.setup holds lines of a shell script.
        if is_hydras(override.key_or_group) or override.key_or_group.partition(".")[0] == "launcher":
            raise ConfigError(
                f"{truncate(override.input_line)}: a sweep can't change the launcher or Hydra's own settings"
            )
        if "${" in (override.input_line or ""):
            raise ConfigError(
                f"{truncate(override.input_line)}: a sweep can't interpolate; write the value out, or give it on the "
                "command line"
            )


def _parameter(key: str, described: Any, *, is_grid: bool) -> Parameter:
    """Convert W&B's description of a parameter. key: its path in the file, for error messages."""
    if not isinstance(described, dict):
        raise ConfigError(
            f"{key}={truncate(described)}: must be a mapping with value, values, or min and max"
        )
    given = dict(described)
    is_integer = all(isinstance(given.get(end), int) for end in ("min", "max"))
    of_range = "int_uniform" if is_integer else "uniform"
    default = "constant" if "value" in given else "categorical" if "values" in given else of_range
    name = given.pop("distribution", None) or default
    if not isinstance(name, str) or name not in DISTRIBUTIONS:
        raise ConfigError(
            f"{key}.distribution={truncate(name)}: not supported{did_you_mean(str(name), DISTRIBUTIONS)}; "
            f"supported are {', '.join(DISTRIBUTIONS)}"
        )
    needed = DISTRIBUTIONS[name]
    if set(given) != set(needed):
        raise ConfigError(
            f"{key} has {truncate(', '.join(given)) or 'nothing'}: {name} needs {' and '.join(needed)}"
        )
    if name == "constant":
        return CategoricalDistribution([_plain(given["value"])])
    if name == "categorical":
        if not isinstance(given["values"], list) or not given["values"]:
            raise ConfigError(f"{key}.values={truncate(given['values'])}: must be a list of values")
        return CategoricalDistribution(list(dict.fromkeys(map(_plain, given["values"]))))
    found = _range(key, name, given)
    if is_grid and found.step is None:
        raise ConfigError(f"{key}: a grid needs values, and {name} has infinitely many")
    return found


def _range(key: str, name: str, given: Mapping[str, Any]) -> FloatDistribution | IntDistribution:
    for end, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            hint = "; YAML reads 1e-4 as text, write 1.0e-4" if isinstance(value, str) else ""
            raise ConfigError(f"{key}.{end}={truncate(value)}: must be a number{hint}")
    low, high, step = given["min"], given["max"], given.get("q")
    if low >= high:
        raise ConfigError(f"{key}.min={low}: must be below max={high}")
    if name == "log_uniform_values" and low <= 0:
        raise ConfigError(f"{key}.min={low}: must be more than 0 for {name}")
    # W&B rounds to multiples of q, and Optuna adds multiples of q to min.
    counts = [n / step for n in (low, high)] if step else []
    if step is not None and (
        step <= 0 or not all(abs(count) < 2**53 and math.isclose(count, round(count)) for count in counts)
    ):
        raise ConfigError(f"{key}.q={step}: min={low} and max={high} must be multiples of it")
    is_integer = all(isinstance(value, int) for value in given.values())
    if name == "int_uniform" and not is_integer:
        raise ConfigError(f"{key}: int_uniform needs integers as min and max")
    if is_integer and name in ("int_uniform", "q_uniform"):
        return IntDistribution(low, high, step=step or 1)
    return FloatDistribution(low, high, step=step, log=name == "log_uniform_values")


def _plain(value: Any) -> Any:
    """Convert a list to its text on the command line, because Optuna stores no lists."""
    return str(value) if isinstance(value, list | dict) else value
