"""The configuration of a run: resolved, named, written into its folder and read back."""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tenet import __version__
from tenet.config.overrides import is_hydras, parse
from tenet.config.rules import check_rules
from tenet.errors import ConfigError
from tenet.files.atomic import write_atomically
from tenet.files.names import CONFIG_FILE
from tenet.files.paths import user_path
from tenet.files.plain import read_yaml

# What the configuration of every run holds.
RUN_KEYS = ("seed", "dataset", "backbone", "tenet", "augment", "optimizer", "schedule", "trainer", "tracking")


# Keys without which two runs are the same experiment.
NOT_THE_EXPERIMENT = ("tracking", "resume", "rerun")


# What a resumed run may change: how far and on what it trains, and what is done beside, never what it is.
CHANGEABLE_ON_RESUME = (
    "trainer.epochs",
    "trainer.max_steps",
    "trainer.device",
    "trainer.evaluation_batch_size",
    "trainer.evaluate_every_epochs",
    "trainer.checkpoint_every_steps",
    "trainer.checkpoint_every_minutes",
    "trainer.on_nonfinite",
    "trainer.max_nonfinite_steps",
)


def resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of what Hydra composed, every interpolation replaced.

    Raises ConfigError naming a missing or wrong value.
    """
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(first_line(error)) from error
    if missing:
        raise ConfigError(f"{missing[0]} is missing: give {missing[0]}=VALUE")
    values: dict[str, Any] = dict(plain)  # type: ignore[arg-type]
    check_rules(values)
    values.pop("launcher", None)  # how jobs are started is no part of what any of them is
    if values.get("dataset") and "path" in values["dataset"]:
        # For an evaluation or a resumed run, which may start from another folder.
        path = user_path(values["dataset"]["path"], key="dataset.path")
        # Not Path.resolve, which fails for links in a circle: whoever opens the file tells of them.
        values["dataset"]["path"] = os.path.realpath(path)
        check_rules(values)  # the folders above, too, will be written down and read again
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


def write_config(config: Mapping[str, Any], path: Path) -> None:
    text = yaml.safe_dump(dict(config), sort_keys=False)
    # A run folder must not be left with half of its configuration.
    write_atomically(path, lambda temporary: temporary.write_text(text))


def read_config(run_dir: Path) -> dict[str, Any]:
    """The resolved configuration of a run folder, as plain values: nothing in it is interpolated or run.

    The folder may come from others: it is refused, by a ConfigError, if it holds a link that leads out of it.
    """
    path = run_dir / CONFIG_FILE
    try:
        config = read_yaml(path)
        leading_out = next(_links_out(run_dir), None)
    except OSError as error:
        raise ConfigError(
            f"{run_dir} is not a run folder: {path.name} can't be read ({error.strerror or error})"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if leading_out is not None:
        raise ConfigError(f"{leading_out} is a link out of the run folder; put there what it names")
    if not isinstance(config, dict):
        raise ConfigError(f"{path} holds no configuration")
    if lacking := [key for key in RUN_KEYS if key not in config]:
        raise ConfigError(f"{path} is not the configuration of a run: it lacks {', '.join(lacking)}")
    check_rules(config)
    return config


def _links_out(run_dir: Path) -> Iterator[Path]:
    """Where writing into the folder would write elsewhere. W&B's own files are not looked at, but for their folder."""
    inside = run_dir.resolve()
    for folder, names, files in os.walk(inside):
        for path in (Path(folder, name) for name in (*names, *files)):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                yield run_dir / path.relative_to(inside)
        names[:] = [name for name in names if name != "wandb"]


def resumed_config(run_dir: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The run's own configuration with the `overrides` that leave the experiment what it is.

    Raises ConfigError for any other override.
    """
    config = read_config(run_dir)
    for override in parse(overrides):
        key = override.get_key_element()
        if key == "resume" or is_hydras(key):
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


def as_argument(key: str, value: object) -> str:
    """`key=value`, quoted for Hydra and for a shell where the value needs it: to be pasted."""
    text = str(value)
    if re.fullmatch(r"[\w./~+:-]+", text):
        return f"{key}={text}"
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return shlex.quote(f"{key}='{escaped}'")


def first_line(error: Exception) -> str:
    """Of an error of Hydra's, after the key that it is about."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    key = getattr(error, "full_key", None)
    return f"{key}: {line}" if key else line


OmegaConf.register_new_resolver("run_name", run_name, replace=True)
