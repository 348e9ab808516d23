"""The configuration of a run: resolved, named, written to its folder and read back."""

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

# The keys of every run's configuration.
RUN_KEYS = ("seed", "dataset", "backbone", "tenet", "augment", "optimizer", "schedule", "trainer", "tracking")

# Classes and modules that have other names in the run folders of version 0.1.
MOVED = {
    "tenet.inhibition.Inhibition": "tenet.methods.Inhibited",
    "tenet.backbones.ImageNetResNet": "tenet.networks.imagenet_resnet",
    "tenet.backbones.": "tenet.networks.",
    "tenet.schedule.": "tenet.training.schedule.",
    "tenet.training_settings.": "tenet.training.settings.",
}

# Keys in which two runs of the same experiment may differ.
NOT_THE_EXPERIMENT = ("tracking", "resume", "rerun")

# Keys that a resumed run may change: length, device and bookkeeping, never the experiment.
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
    """Plain values of a composed configuration, without the launcher and with interpolations replaced.

    Raises ConfigError for a missing or wrong value.
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
    values.pop("launcher", None)  # not part of a run's identity
    if values.get("dataset") and "path" in values["dataset"]:
        # An evaluation or a resumed run may start from another folder.
        path = user_path(values["dataset"]["path"], key="dataset.path")
        # Not Path.resolve, which fails for links in a circle; opening the file reports them.
        values["dataset"]["path"] = os.path.realpath(path)
        check_rules(values)  # the absolute path may hold characters that the relative one didn't
    return values


def run_id(config: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits, a hash of the resolved configuration and the package version.

    Keys for logging and for the treatment of an earlier run don't count.
    """
    content = {key: value for key, value in config.items() if key not in NOT_THE_EXPERIMENT}
    text = json.dumps({"package_version": __version__, **content}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def run_name(*, _root_: Any) -> str:
    """The name of a run's folder, such as cifar10-resnext29-inhibition-seed0-1f0c5a2b3d.

    The resolver `${run_name:}` of conf/train.yaml; `_root_` is the configuration with Hydra's own node.
    """
    choices = _root_.hydra.runtime.choices
    names = [str(choices.get(group)) for group in ("dataset", "backbone", "tenet")]
    own = OmegaConf.masked_copy(_root_, [key for key in _root_ if key != "hydra"])
    config = resolve(own)
    return "-".join([*names, f"seed{config['seed']}", run_id(config)])


def write_config(config: Mapping[str, Any], path: Path) -> None:
    text = yaml.safe_dump(dict(config), sort_keys=False)
    write_atomically(path, lambda temporary: temporary.write_text(text))


def read_config(run_dir: Path) -> dict[str, Any]:
    """The resolved configuration of a run folder, as plain values: nothing in it is interpolated or executed.

    The folder is not trusted. Raises ConfigError if it is not a run folder, if a value breaks its rule, or if a
    link leads out of the folder.
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
        raise ConfigError(f"{leading_out} is a link out of the run folder; replace it by its target")
    if not isinstance(config, dict):
        raise ConfigError(f"{path} holds no configuration")
    if lacking := [key for key in RUN_KEYS if key not in config]:
        raise ConfigError(f"{path} is not the configuration of a run: it lacks {', '.join(lacking)}")
    for group in (group for group in config.values() if isinstance(group, dict)):
        target = group.get("_target_")
        old = next((old for old in MOVED if isinstance(target, str) and target.startswith(old)), None)
        if old is not None:
            group["_target_"] = MOVED[old] + str(target).removeprefix(old)
    check_rules(config)
    return config


def _links_out(run_dir: Path) -> Iterator[Path]:
    """Links through which writing into the folder would write elsewhere. W&B's own files are not searched."""
    inside = run_dir.resolve()
    for folder, names, files in os.walk(inside):
        for path in (Path(folder, name) for name in (*names, *files)):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                yield run_dir / path.relative_to(inside)
        names[:] = [name for name in names if name != "wandb"]


def resumed_config(run_dir: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The run's own configuration, with `overrides` of keys in CHANGEABLE_ON_RESUME.

    Raises ConfigError for any other override.
    """
    config = read_config(run_dir)
    for override in parse(overrides):
        key = override.get_key_element()
        if key == "resume" or is_hydras(key):
            continue
        if key not in CHANGEABLE_ON_RESUME:
            raise ConfigError(
                f"{override.input_line}: a resumed run keeps its configuration, except "
                f"{', '.join(CHANGEABLE_ON_RESUME)}"
            )
        group, _, name = key.partition(".")
        config[group][name] = override.value()
    check_rules(config)
    return config


def as_argument(key: str, value: object) -> str:
    """`key=value` for pasting into a shell, quoted for it and for Hydra if the value needs it."""
    text = str(value)
    if re.fullmatch(r"[\w./~+:-]+", text):
        return f"{key}={text}"
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return shlex.quote(f"{key}='{escaped}'")


def first_line(error: Exception) -> str:
    """The first line of an error that Hydra or OmegaConf raised, after the key that it concerns."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"{error.full_key}: {line}" if isinstance(error, OmegaConfBaseException) and error.full_key else line
    )


OmegaConf.register_new_resolver("run_name", run_name, replace=True)
