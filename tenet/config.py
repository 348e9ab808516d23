"""From the command line and YAML to checked values, and from values to objects. Torch isn't imported here."""

import hashlib
import importlib
import inspect
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tenet import __version__
from tenet.errors import ConfigError, UserError
from tenet.rules import OPEN_GROUP, RULES, check_rules, leaves, nearest

CONFIG_FILE = "config.yaml"

# Configurations may come from others: a `_target_` names a class that one of these modules defines, or
# nothing. Only code can widen the list. (Hydra's unrestricted `instantiate` runs any callable at all.)
ALLOWED_TARGETS = {
    "dataset": "tenet.data",
    "backbone": "tenet.backbones",
    "tenet": "tenet.inhibition",
    "augment": "tenet.augment",
    "optimizer": "torch.optim",
    "schedule": "tenet.schedule",
    "trainer": "tenet.training_settings",
    "tracking": "tenet.tracking",
}
# What the configuration of every run holds.
RUN_KEYS = ("seed", "dataset", "backbone", "tenet", "augment", "optimizer", "schedule", "trainer", "tracking")
# Keys without which two runs are the same experiment.
NOT_THE_EXPERIMENT = ("tracking", "resume", "rerun")
# What a resumed run may change: how far and on what it trains, never what it is.
CHANGEABLE_ON_RESUME = (
    "trainer.epochs",
    "trainer.max_steps",
    "trainer.device",
    "trainer.evaluation_batch_size",
)


def build(config: Mapping[str, Any] | None, *args: Any, key: str, **kwargs: Any) -> Any:
    """Construct the class that `_target_` names from the other values, `args` and `kwargs`; None if null.

    key: where `config` stands, for the message. Raises ConfigError if the target is not allowed or
    refuses its arguments.
    """
    if config is None or (key == "tenet" and config.get("_target_") is None):
        return None
    if "_target_" not in config:
        raise ConfigError(f"{key}._target_ is missing")
    values = {name: value for name, value in config.items() if name != "_target_"}
    with naming(key):
        return locate(str(config["_target_"]), key=key)(*args, **values, **kwargs)


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Put the key before what a constructor or a check says of its arguments: `groups=0 ...` under `tenet`
    becomes `tenet.groups=0 ...`, as a ConfigError."""
    try:
        yield
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        message = str(error).removeprefix(f"{key}.")
        raise ConfigError(
            f"{key}.{message}" if re.match(r"\w+=", message) else f"{key}: {message}"
        ) from error


def locate(target: str, *, key: str) -> type:
    """The class `target` names. Raises ConfigError unless the module allowed for `key` defines it."""
    allowed = f"{key}._target_={target}: must be a class of {ALLOWED_TARGETS[key]}"
    module_name, _, name = target.rpartition(".")
    if not _within(module_name, ALLOWED_TARGETS[key]):
        raise ConfigError(allowed)
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        raise ConfigError(f"{allowed} ({error})") from error
    # Where it was defined, not only where it was found: a module's own imports are not for the taking.
    if not inspect.isclass(found) or not _within(found.__module__, ALLOWED_TARGETS[key]):
        raise ConfigError(allowed)
    return found


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of what Hydra composed, every interpolation replaced.

    Raises ConfigError naming a missing or wrong value.
    """
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(_first_line(error)) from error
    if missing:
        raise ConfigError(f"{missing[0]} is missing: give {missing[0]}=VALUE")
    values: dict[str, Any] = dict(plain)  # type: ignore[arg-type]
    check_rules(values)
    if values.get("dataset") and "path" in values["dataset"]:
        # For an evaluation or a resumed run, which may start from another folder.
        values["dataset"]["path"] = str(Path(values["dataset"]["path"]).expanduser().resolve())
    return values


def run_id(config: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits: the same for the same resolved configuration and version of the package.

    Keys that only say where to log, or how to treat an earlier run, don't count.
    """
    content = {key: value for key, value in config.items() if key not in NOT_THE_EXPERIMENT}
    text = json.dumps({"package_version": __version__, **content}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def run_name(*, _root_: Any) -> str:
    """The name of a run's folder, from its configuration: such as cifar10-resnext29-inhibition-seed0-1f0c5a2b3d.

    A resolver, `${run_name:}`, for Hydra's folders: it sees Hydra's own configuration beside ours.
    """
    choices = _root_.hydra.runtime.choices
    names = [str(choices.get(group)) for group in ("dataset", "backbone", "tenet")]
    own = OmegaConf.masked_copy(_root_, [key for key in _root_ if key != "hydra"])
    config = resolve(own)
    return "-".join([*names, f"seed{config['seed']}", run_id(config)])


OmegaConf.register_new_resolver("run_name", run_name, replace=True)


def write_config(config: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renamed when whole: a run folder must not be left with half of its configuration.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(yaml.safe_dump(dict(config), sort_keys=False))
    temporary.replace(path)


def read_config(run_dir: Path) -> dict[str, Any]:
    """The resolved configuration of a run folder, as plain values: nothing in it is interpolated or run."""
    path = run_dir / CONFIG_FILE
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"{run_dir} is not a run folder: {path.name} can't be read ({error.strerror})"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path} holds no configuration")
    if lacking := [key for key in RUN_KEYS if key not in config]:
        raise ConfigError(f"{path} is not the configuration of a run: it lacks {', '.join(lacking)}")
    check_rules(config)
    return config


def resumed_config(run_dir: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The run's own configuration with the `overrides` that leave the experiment what it is.

    Raises ConfigError for any other override.
    """
    config = read_config(run_dir)
    for override in _parse(overrides):
        key = override.get_key_element()
        if key == "resume" or _is_hydras(key):
            continue
        if key not in CHANGEABLE_ON_RESUME:
            raise ConfigError(
                f"{override.input_line}: a resumed run keeps its configuration, but for "
                f"{', '.join(CHANGEABLE_ON_RESUME)}"
            )
        group, _, name = key.partition(".")
        config[group][name] = override.value()
    check_rules(config)
    return config


def check_command_line(arguments: Sequence[str], *, config_dir: Path, config_name: str) -> list[str]:
    """Compose and check every configuration that the command line asks for; return its overrides.

    Flags that only print something are left to Hydra. Of a sweep, each value (of a range its ends) is
    checked beside the first values of the others. Raises ConfigError: which key or option is wrong, and
    which is nearest.
    """
    parsed = get_args_parser().parse_intermixed_args([null_for_none(word) for word in arguments])
    if parsed.help or parsed.hydra_help or parsed.shell_completion or parsed.info:
        return []
    overrides = _parse(parsed.overrides)
    for override in overrides:
        if override.is_sweep_override() and not parsed.multirun:
            raise ConfigError(
                f"{override.input_line} is a sweep: add -m to run each value, or put a list in brackets"
            )
        if override.is_sweep_override() and override.get_key_element() == "resume":
            raise ConfigError(f"{override.input_line}: resume one run at a time")
    with initialize_config_dir(str(config_dir), version_base="1.3", job_name=config_name):
        for variant in _variants(overrides):
            config = _compose(config_name, variant, config_dir)
            if config.get("resume") is None:
                resolve(config)
            else:
                resumed_config(Path(str(config["resume"])), variant)
    return list(parsed.overrides)


def null_for_none(word: str) -> str:
    """`key=None` as `key=null`: so write W&B's agent and Python what YAML and Hydra call null. A text "None"
    needs its quotes."""
    return re.sub(r"^([^=]+=)None$", r"\1null", word)


def plan(overrides: Sequence[str], *, config_dir: Path, config_name: str) -> tuple[Path, dict[str, Any]]:
    """The folder (from the working directory) and the resolved configuration of the run that the overrides
    ask for."""
    with initialize_config_dir(str(config_dir), version_base="1.3", job_name=config_name):
        try:
            words = [null_for_none(word) for word in overrides]
            config = compose(config_name, words, return_hydra_config=True)
            run_dir = Path(config.hydra.run.dir)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(_first_line(error)) from error
        return run_dir, resolve(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))


def as_argument(key: str, value: object) -> str:
    """`key=value`, quoted for Hydra and for a shell where the value needs it: to be pasted."""
    text = str(value)
    if re.fullmatch(r"[\w./~+:-]+", text):
        return f"{key}={text}"
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return shlex.quote(f"{key}='{escaped}'")


def _parse(overrides: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            raise ConfigError(
                f"{text} can't be read as KEY=VALUE; put special characters in '\"quotes\"'"
            ) from error
    return parsed


def _is_hydras(key: str) -> bool:
    return re.match(r"[+~]*hydra(?=[./]|$)", key) is not None


def _variants(overrides: Sequence[Override]) -> Iterable[list[str]]:
    """Override lists without sweeps: the first value of each, then every other value in its turn."""
    values = [options for options in map(_values, overrides) if options]
    first = [options[0] for options in values]
    yield first
    for index, options in enumerate(values):
        for other in options[1:]:
            yield [*first[:index], other, *first[index + 1 :]]


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.input_line or ""]
    if not isinstance(override.value(), ChoiceSweep | RangeSweep):
        return []  # globs and intervals are for their sweepers to read
    values = [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    return values if override.is_choice_sweep() else values[:: max(1, len(values) - 1)]


def _compose(config_name: str, overrides: list[str], config_dir: Path) -> Mapping[str, Any]:
    """Hydra's composition, with its refusals turned into the name that was probably meant."""
    groups = {str(path.relative_to(config_dir)) for path in config_dir.rglob("*") if path.is_dir()}
    parsed = _parse(overrides)
    for override in parsed:
        if override.is_delete() and not _is_hydras(override.key_or_group):
            raise ConfigError(
                f"{override.input_line}: keys can't be removed; choose another option, such as tenet=none"
            )
    choices = [override for override in parsed if override.key_or_group in groups]
    for choice in choices:
        _check_choice(choice, config_dir)
    try:
        config = compose(config_name, [choice.input_line or "" for choice in choices])
        keys = [key for key, _ in leaves(OmegaConf.to_container(config))]  # type: ignore[arg-type]
        for override in parsed:
            if override not in choices:
                _check_key(override, keys, groups)
        return compose(config_name, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_first_line(error)) from error


def _check_choice(choice: Override, config_dir: Path) -> None:
    """Raise ConfigError if a group is given something that is none of its options."""
    group, option = choice.key_or_group, choice.value()
    options = sorted(path.stem for path in (config_dir / group).glob("*.yaml"))
    if not choice.is_delete() and not isinstance(option, dict) and option not in options:
        raise ConfigError(
            f"{group}={option}: no such option{nearest(str(option), options)}; there are {', '.join(options)}"
        )


def _check_key(override: Override, keys: Sequence[str], groups: Iterable[str]) -> None:
    """Raise ConfigError if the override's key is none of the composed `keys`, nor above one."""
    key = override.key_or_group
    added = override.is_add() or override.is_force_add()
    if _is_hydras(key) or (added and key.startswith(OPEN_GROUP)):
        return
    if any(known == key or known.startswith(f"{key}.") for known in keys):
        return
    group = key.partition(".")[0]
    if key in RULES and group in groups and any(known.startswith(f"{group}.") for known in keys):
        raise ConfigError(f"the chosen {group} has no key {key}; choose another {group}=OPTION")
    raise ConfigError(f"there is no key {key}{nearest(key, [*keys, *groups])}")


def _first_line(error: Exception) -> str:
    line = str(error).strip().splitlines()[0]
    key = getattr(error, "full_key", None)
    return f"{key}: {line}" if key else line
