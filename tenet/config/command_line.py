"""Checks the command line before anything is built or read, and runs Hydra with it."""

import functools
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tenet.config.build import locate
from tenet.config.overrides import OF_RESUMED, check_origin, is_hydras, null_for_none, parse, variants
from tenet.config.plugins import config_folders, installed_plugins
from tenet.config.rules import OPTIMIZER, check_rules, did_you_mean, flatten, truncate, without_foreign_keys
from tenet.config.run_config import first_line, resolve, resumed_config
from tenet.errors import ConfigError, UserError
from tenet.files.paths import user_path
from tenet.files.plain import read_yaml

# Hydra's flags that load another configuration; the last one unpickles a file.
CLOSED_FLAGS = ("config_path", "config_name", "config_dir", "experimental_rerun")


class PluginOptions(SearchPathPlugin):
    """Tells Hydra where the installed plugins keep their options."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for plugin in installed_plugins():
            search_path.append(provider=plugin.package, path=f"file://{plugin.conf}")


def register_options(config_dir: Path) -> None:
    """Add the options of plugins to those in `config_dir`. Raises ConfigError for a plugin that can't be used."""
    if len(config_folders(config_dir)) > 1:
        Plugins.instance().register(PluginOptions)


def open_config(config_dir: Path, config_name: str) -> AbstractContextManager[object]:
    """The context in which Hydra composes. Raises ConfigError for a plugin that can't be used."""
    register_options(config_dir)
    return initialize_config_dir(str(config_dir), version_base="1.3", job_name=config_name)


def check_command_line(arguments: Sequence[str], *, config_dir: Path, config_name: str) -> list[str]:
    """Compose and check every configuration that the command line asks for; return its overrides.

    The list is empty if a flag only prints something, and starts with --multirun if the launcher takes a single run as
    one. Of a sweep, `variants` chooses what is checked.
    Raises ConfigError with the wrong key or option and the nearest right one.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    parsed = parser.parse_intermixed_args([null_for_none(word) for word in arguments])
    for flag in CLOSED_FLAGS:
        if getattr(parsed, flag) is not None:
            raise ConfigError(
                f"--{flag.replace('_', '-')}: not supported; give KEY=VALUE, or add an option to conf/"
            )
    overrides = parse(parsed.overrides)
    is_resumed = any(one.key_or_group == "resume" and one.value() is not None for one in overrides)
    check_origin(overrides)
    register_options(config_dir)  # --help lists them
    if parsed.help or parsed.hydra_help or parsed.shell_completion or parsed.info:
        return []
    for override in overrides:
        if override.is_sweep_override() and not parsed.multirun:
            raise ConfigError(
                f"{override.input_line} is a sweep: add -m to run each value, or put a list in brackets"
            )
        if override.is_sweep_override() and override.get_key_element() == "resume":
            raise ConfigError(f"{override.input_line}: resume one run at a time")
    swept = {override.get_key_element() for override in overrides if override.is_sweep_override()}
    shared = sorted(swept - {"run", "weights"})
    if config_name == "evaluate" and shared and "output" not in swept:
        raise ConfigError(
            f"{shared[0]}: the evaluations would overwrite each other's report; sweep only run= or weights=, or "
            "give each its own command with output="
        )
    with open_config(config_dir, config_name):
        for variant in variants(overrides):
            composed = [
                one.input_line or ""
                for one in parse(variant)
                if not is_resumed or one.key_or_group != OF_RESUMED
            ]
            config = _compose(config_name, composed, config_dir)
            if parsed.package is not None and not isinstance(config.get(parsed.package), Mapping):
                hint = did_you_mean(parsed.package, config)
                raise ConfigError(f"--package {parsed.package}: no group{hint}")
            try:
                resumed = config.get("resume")
            except OmegaConfBaseException as error:
                raise ConfigError(f"resume: {first_line(error)}; give a folder without ${{...}}") from error
            if resumed is None:
                resolve(config)
            else:
                check_rules({"resume": resumed})
                resumed_config(user_path(str(resumed), key="resume"), variant)
    launcher = config.get("launcher")
    if parsed.multirun or parsed.cfg or launcher is None:
        return list(parsed.overrides)
    executor: Any = locate(launcher["_target_"], key="launcher")
    if not executor.is_remote:
        return list(parsed.overrides)
    if any(override.key_or_group == "hydra.run.dir" for override in overrides):
        raise ConfigError(
            "hydra.run.dir: this launcher needs hydra.sweep.dir and hydra.sweep.subdir in its place"
        )
    return ["--multirun", *parsed.overrides]


def _refuse(message: str) -> NoReturn:
    raise ConfigError(message)


def call_with_config(
    task: Callable[[Any], Any], arguments: Sequence[str], *, config_dir: Path, config_name: str
) -> Any:
    """Run Hydra on the checked `arguments`: it composes the configuration and calls `task` with it, or starts
    the launcher of a multirun. Returns the result of a single run.

    Raises the task's errors, and ConfigError if Hydra refuses its own settings (`hydra.*`).
    """
    if "${" in str(Path.cwd()):
        raise ConfigError(
            f"{Path.cwd()}: Hydra would read ${{...}} in a folder's name as a key; start from another folder"
        )
    failures: list[Exception] = []
    results: list[Any] = []

    @functools.wraps(task)
    def kept(composed: Any) -> Any:
        try:
            results.append(task(composed))
            return results[-1]
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            # Kept from Hydra, which would print a line of its own before raising the error.
            failures.append(error)
            return None

    sys.argv[1:] = arguments
    main = hydra.main(version_base="1.3", config_path=str(config_dir), config_name=config_name)(kept)
    try:
        main()
    except (UserError, OSError):
        raise
    except Exception as error:
        # The errors of a multirun's launcher arrive here; those of a single run are in `failures`.
        is_hydras_error = isinstance(error, HydraException | OmegaConfBaseException)
        if not is_hydras_error and {"-m", "--multirun"} & set(arguments):
            raise
        raise ConfigError(first_line(error)) from error
    if failures:
        raise failures[0]
    return results[0] if results else None


def plan(overrides: Sequence[str], *, config_dir: Path, config_name: str) -> tuple[Path, dict[str, Any]]:
    """The folder, relative to the working directory, and the resolved configuration of the run that the
    overrides describe. Raises ConfigError."""
    with open_config(config_dir, config_name):
        try:
            words = [null_for_none(word) for word in overrides]
            config = compose(config_name, words, return_hydra_config=True)
            run_dir = Path(config.hydra.run.dir)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(first_line(error)) from error
        return run_dir, resolve(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))


def _compose(config_name: str, overrides: list[str], config_dir: Path) -> Mapping[str, Any]:
    """Compose with Hydra. Raises ConfigError that suggests the name that was probably meant."""
    folders = config_folders(config_dir)
    groups = {
        str(path.relative_to(folder)) for folder in folders for path in folder.rglob("*") if path.is_dir()
    }
    choices: list[Override] = []
    others: list[Override] = []
    for override in parse(overrides):
        if is_hydras(override.key_or_group):
            continue
        if override.is_delete() and not is_optional(override.key_or_group):
            raise ConfigError(
                f"{override.input_line}: keys can't be removed; choose another option, such as tenet=none"
            )
        (choices if override.key_or_group in groups else others).append(override)
    for choice in choices:
        group, option = choice.key_or_group, choice.value()
        options = sorted(path.stem for path in option_files(group, folders))
        if not isinstance(option, dict) and option not in options:
            hint = did_you_mean(str(option), options)
            raise ConfigError(
                f"{group}={truncate(option)}: no such option{hint}; the options are {', '.join(options)}"
            )

    def check_keys() -> None:
        """Without the other overrides: a key that `+key=value` adds must be one that exists."""
        config = compose(config_name, [choice.input_line or "" for choice in choices])
        keys = [key for key, _ in flatten(OmegaConf.to_container(config))]  # type: ignore[arg-type]
        for override in others:
            _check_key(override, keys, groups, folders)

    try:
        # Hydra refuses any other unknown key, so most commands need no second composition.
        if any(one.is_add() or one.is_force_add() or one.is_delete() for one in others):
            check_keys()
        try:
            config = compose(config_name, overrides)
        except (HydraException, OmegaConfBaseException):
            check_keys()  # its message suggests the nearest key
            raise
        _check_taken(others, config)
        return config
    except (HydraException, OmegaConfBaseException) as error:
        if group_of_another := re.match(r"Could not override '([\w/]+)'", str(error)):
            message = f"{config_name}.py takes no {group_of_another[1]}=OPTION (see --help)"
            raise ConfigError(message) from error
        raise ConfigError(first_line(error)) from error
    except AssertionError as error:  # Hydra asserts that a key with keys below it is a mapping
        own = " ".join(str(one.input_line) for one in parse(overrides) if is_hydras(one.key_or_group))
        raise ConfigError(
            f"{own}: Hydra can't set this; leave it out (a sweep is KEY=A,B with -m on the command line)"
        ) from error


def option_files(group: str, folders: Iterable[Path]) -> list[Path]:
    return [file for folder in folders for file in (folder / group).glob("*.yaml")]


def _check_key(
    override: Override, keys: Sequence[str], groups: Iterable[str], folders: Iterable[Path]
) -> None:
    """Raise ConfigError if the override's key is none of the composed `keys` and no prefix of one."""
    key = override.key_or_group
    group, _, name = key.partition(".")
    if (override.is_add() or override.is_force_add()) and group == OPTIMIZER:
        return
    if any(known == key or known.startswith(f"{key}.") for known in keys):
        return
    if key.startswith("backbone.kwargs.") and "backbone.kwargs" in keys:
        if override.is_add() or override.is_force_add():
            return
        raise ConfigError(
            f"{override.input_line}: write +{override.input_line}; an argument of the model is added"
        )
    own = [known for known in keys if group in groups and known.startswith(f"{group}.")]
    options = option_files(group, folders) if group in groups else ()
    of_options = {f"{group}.{one}" for option in options for one in read_yaml(option) or ()}
    if key in of_options:
        if not own:
            raise ConfigError(f"there is no key {key} unless {group} is chosen; add {group}=OPTION")
        raise ConfigError(f"the chosen {group} has no key {key}; choose another {group}=OPTION")
    hint = did_you_mean(key, [*keys, *groups])
    if not any(known.rpartition(".")[2] == name for known in keys):  # otherwise another group has this key
        candidates = (each - {f"{group}._target_"} for each in (set(own), of_options))
        hint = next(filter(None, (did_you_mean(key, sorted(each)) for each in candidates)), hint)
    if group == OPTIMIZER:
        hint += f"; an argument of the optimizer's class is added by +{key}=VALUE"
    if group == "backbone" and "backbone.kwargs" in keys:
        hint += f"; an argument of the model is added by +backbone.kwargs.{name}=VALUE"
    raise ConfigError(f"there is no key {key}{hint}")


def is_optional(key: str) -> bool:
    """Whether the key may be removed: of an optimizer's arguments, PyTorch's defaults remain."""
    return key.startswith(f"{OPTIMIZER}.") and key != f"{OPTIMIZER}._target_"


def _check_taken(overrides: Sequence[Override], config: Any) -> None:
    """Raise ConfigError if the class of a group does not take a key that the overrides set."""
    plain: Any = OmegaConf.to_container(config)
    left_out = {key for key, _ in flatten(plain)} - {key for key, _ in flatten(without_foreign_keys(plain))}
    for override in overrides:
        key, value = override.key_or_group, override.value()
        typed = [name for name, _ in flatten({key: value})]
        if wrong := next((name for name in typed if name in left_out), None):
            group = wrong.partition(".")[0]
            raise ConfigError(f"the chosen {group} has no key {wrong}; choose another {group}=OPTION")
