"""What a command asks for, checked before anything is built or read."""

import functools
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tenet.config.overrides import is_hydras, null_for_none, parse, variants
from tenet.config.rules import OPEN_GROUP, RULES, check_rules, did_you_mean, flatten
from tenet.config.run_config import first_line, resolve, resumed_config
from tenet.errors import ConfigError, UserError

# Hydra's flags that take the configuration from elsewhere; the last one unpickles a file.
CLOSED_FLAGS = ("config_path", "config_name", "config_dir", "experimental_rerun")


def check_command_line(arguments: Sequence[str], *, config_dir: Path, config_name: str) -> list[str]:
    """Compose and check every configuration that the command line asks for; return its overrides.

    Flags that only print something are left to Hydra. Of a sweep, each value (of a range its ends) is
    checked beside the first values of the others. Raises ConfigError: which key or option is wrong, and
    which is nearest.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    parsed = parser.parse_intermixed_args([null_for_none(word) for word in arguments])
    for flag in CLOSED_FLAGS:
        if getattr(parsed, flag) is not None:
            raise ConfigError(
                f"--{flag.replace('_', '-')}: not taken; give KEY=VALUE, or add an option to conf/"
            )
    if parsed.help or parsed.hydra_help or parsed.shell_completion or parsed.info:
        return []
    overrides = parse(parsed.overrides)
    for override in overrides:
        if override.is_sweep_override() and not parsed.multirun:
            raise ConfigError(
                f"{override.input_line} is a sweep: add -m to run each value, or put a list in brackets"
            )
        if override.is_sweep_override() and override.get_key_element() == "resume":
            raise ConfigError(f"{override.input_line}: resume one run at a time")
    swept = {override.get_key_element() for override in overrides if override.is_sweep_override()}
    if config_name == "evaluate" and swept - {"run", "weights"} and "output" not in swept:
        raise ConfigError(
            f"{min(swept - {'run', 'weights'})}: one evaluation of a run would overwrite the other's report; sweep "
            "run= or weights= alone, or give output= in commands of their own"
        )
    with initialize_config_dir(str(config_dir), version_base="1.3", job_name=config_name):
        for variant in variants(overrides):
            config = _compose(config_name, variant, config_dir)
            if parsed.package is not None and not isinstance(config.get(parsed.package), Mapping):
                raise ConfigError(
                    f"--package {parsed.package}: no group{did_you_mean(parsed.package, config)}"
                )
            try:
                resumed = config.get("resume")
            except OmegaConfBaseException as error:
                raise ConfigError(f"resume: {first_line(error)}; give a folder without ${{...}}") from error
            if resumed is None:
                resolve(config)
            else:
                check_rules({"resume": resumed})
                resumed_config(Path(str(resumed)), variant)
    return list(parsed.overrides)


def _refuse(message: str) -> NoReturn:
    raise ConfigError(message)


def call_with_config(
    task: Callable[[Any], Any], arguments: Sequence[str], *, config_dir: Path, config_name: str
) -> None:
    """Let Hydra compose the configuration, as the checked `arguments` ask, and call `task` with it (of a
    multirun let its launcher).

    Raises what the task raises, and ConfigError where Hydra refuses its own settings (`hydra.*`).
    """
    if "${" in str(Path.cwd()):
        raise ConfigError(
            f"{Path.cwd()}: Hydra takes ${{...}} in a folder's name for a key; start from another"
        )
    failures: list[Exception] = []

    @functools.wraps(task)
    def kept(composed: Any) -> Any:
        try:
            return task(composed)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            # Past Hydra, which would print a line of its own before it raises the error.
            failures.append(error)
            return None

    sys.argv[1:] = arguments
    main = hydra.main(version_base="1.3", config_path=str(config_dir), config_name=config_name)(kept)
    try:
        main()
    except (UserError, OSError):
        raise
    except Exception as error:
        # Of a single run nothing of ours gets here, of a multirun its launcher's errors do.
        if not isinstance(error, HydraException | OmegaConfBaseException) and {"-m", "--multirun"} & {
            *arguments
        }:
            raise
        raise ConfigError(first_line(error)) from error
    if failures:
        raise failures[0]


def plan(overrides: Sequence[str], *, config_dir: Path, config_name: str) -> tuple[Path, dict[str, Any]]:
    """The folder (from the working directory) and the resolved configuration of the run that the overrides
    ask for."""
    with initialize_config_dir(str(config_dir), version_base="1.3", job_name=config_name):
        try:
            words = [null_for_none(word) for word in overrides]
            config = compose(config_name, words, return_hydra_config=True)
            run_dir = Path(config.hydra.run.dir)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(first_line(error)) from error
        return run_dir, resolve(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))


def _compose(config_name: str, overrides: list[str], config_dir: Path) -> Mapping[str, Any]:
    """Hydra's composition, with its refusals turned into the name that was probably meant."""
    groups = {str(path.relative_to(config_dir)) for path in config_dir.rglob("*") if path.is_dir()}
    groups = {group for group in groups if not is_hydras(group)}  # of those, Hydra and its plugins have more
    parsed = parse(overrides)
    for override in parsed:
        if override.is_delete() and not is_hydras(override.key_or_group):
            raise ConfigError(
                f"{override.input_line}: keys can't be removed; choose another option, such as tenet=none"
            )
    choices = [override for override in parsed if override.key_or_group in groups]
    for choice in choices:
        _check_choice(choice, config_dir)
    try:
        config = compose(config_name, [choice.input_line or "" for choice in choices])
        keys = [key for key, _ in flatten(OmegaConf.to_container(config))]  # type: ignore[arg-type]
        for override in parsed:
            if override not in choices:
                _check_key(override, keys, groups)
        return compose(config_name, overrides)
    except ConfigCompositionException as error:
        if group := re.match(r"Could not override '([\w/]+)'", str(error)):
            raise ConfigError(f"{config_name}.py takes no {group[1]}=OPTION (see --help)") from error
        raise ConfigError(first_line(error)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(first_line(error)) from error


def _check_choice(choice: Override, config_dir: Path) -> None:
    """Raise ConfigError if a group is given something that is none of its options."""
    group, option = choice.key_or_group, choice.value()
    options = sorted(path.stem for path in (config_dir / group).glob("*.yaml"))
    if not choice.is_delete() and not isinstance(option, dict) and option not in options:
        raise ConfigError(
            f"{group}={option}: no such option{did_you_mean(str(option), options)}; there are {', '.join(options)}"
        )


def _check_key(override: Override, keys: Sequence[str], groups: Iterable[str]) -> None:
    """Raise ConfigError if the override's key is none of the composed `keys`, nor above one."""
    key = override.key_or_group
    added = override.is_add() or override.is_force_add()
    if is_hydras(key) or (added and key.startswith(OPEN_GROUP)):
        return
    if any(known == key or known.startswith(f"{key}.") for known in keys):
        return
    group = key.partition(".")[0]
    if key in RULES and group in groups and any(known.startswith(f"{group}.") for known in keys):
        raise ConfigError(f"the chosen {group} has no key {key}; choose another {group}=OPTION")
    raise ConfigError(f"there is no key {key}{did_you_mean(key, [*keys, *groups])}")
