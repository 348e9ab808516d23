"""The configuration of a run: resolved, named, written to its folder and read back."""

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tenet import __version__
from tenet.config.build import INITIAL_WEIGHTS
from tenet.config.identity import CHANGEABLE_ON_RESUME, is_of_experiment, schedule_epochs
from tenet.config.overrides import is_hydras, parse
from tenet.config.rules import check_rules, without_foreign_keys
from tenet.distributed import started_processes
from tenet.errors import ConfigError
from tenet.files.atomic import write_atomically
from tenet.files.names import CONFIG_FILE, WEIGHTS_FILE
from tenet.files.paths import user_path
from tenet.files.plain import links_out, read_yaml, sha256_of

# The keys of every run's configuration.
RUN_KEYS = (
    "seed", "dataset", "backbone", "tenet", "objective", "attack", "augment", "mixing", "optimizer", "schedule",
    "ema", "trainer", "tracking",
)  # fmt: skip

# Groups that the run folders of earlier versions lack, with what these versions did.
ADDED_GROUPS: dict[str, dict[str, Any]] = {
    "objective": {"_target_": "tenet.methods.CrossEntropy", "label_smoothing": 0.0},
    "attack": {"_target_": None},
    "mixing": {"_target_": None},
    "ema": {"_target_": "tenet.training.averaging.AveragingSettings", "decay": None},
}

# Classes and modules that have other names in the run folders of version 0.1.
MOVED = {
    "tenet.inhibition.Inhibition": "tenet.methods.Inhibited",
    "tenet.backbones.ImageNetResNet": "tenet.networks.imagenet_resnet",
    "tenet.backbones.": "tenet.networks.",
    "tenet.schedule.": "tenet.training.schedule.",
    "tenet.training_settings.": "tenet.training.settings.",
}

# Options that the name of a run's folder leaves out.
USUAL = {"objective": "cross_entropy", "attack": "none", "mixing": "none"}


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
    values = without_foreign_keys(plain)  # type: ignore[arg-type]
    check_rules(values)
    values.pop("launcher", None)  # not part of a run's identity
    if values.get("validation") and values["validation"].get("corruptions") is None:
        del values["validation"]  # a run that measures nothing more keeps its name
    if values.get("trainer") and values["trainer"].get("processes", 0) is None:
        values["trainer"]["processes"] = started_processes()
    if values.get("dataset") and "path" in values["dataset"]:
        # An evaluation or a resumed run may start from another folder.
        path = user_path(values["dataset"]["path"], key="dataset.path")
        # Not Path.resolve, which fails for links in a circle; opening the file reports them.
        values["dataset"]["path"] = os.path.realpath(path)
        check_rules(values)  # the absolute path may hold characters that the relative one didn't
    if values.get("backbone"):
        values["backbone"] = _with_checksum(values["backbone"])
        check_rules(values)
    return values


def _with_checksum(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """The group with the checksum of its file of initial weights, which is part of what the run is.

    Without a file, the keys are left out. A run folder means its weights. Raises ConfigError if there is no such file.
    """
    kept = {name: value for name, value in backbone.items() if name not in INITIAL_WEIGHTS}
    given, key = backbone.get("weights"), backbone.get("weights_key")
    if given is None:
        if key is not None:
            raise ConfigError(f"backbone.weights_key={key} needs backbone.weights=FILE")
        return kept
    if kept.get("pretrained"):
        raise ConfigError(f"backbone.weights={given} and backbone.pretrained=true: give one of them")
    path = Path(os.path.realpath(user_path(given, key="backbone.weights")))
    path = path / WEIGHTS_FILE if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(
            f"backbone.weights={given}: {path} is not a file; give a file of weights or a run folder"
        )
    found = path.stat()
    checksum = _checksum_of(path, found.st_size, found.st_ino, found.st_mtime_ns)
    return {**kept, "weights": str(path), "weights_key": key, "weights_sha256": checksum}


@functools.cache
def _checksum_of(path: Path, *stamp: int) -> str:
    """stamp: for the cache; a file is read again only if it has changed."""
    return sha256_of(path)


def run_id(config: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits, a hash of the resolved configuration and the package version.

    The keys of NOT_THE_EXPERIMENT don't count.
    """
    content = {
        key: {name: part for name, part in value.items() if is_of_experiment(f"{key}.{name}")}
        if isinstance(value, Mapping)
        else value
        for key, value in config.items()
        if is_of_experiment(key)
    }
    text = json.dumps({"package_version": __version__, **content}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def chosen_options(choices: Mapping[str, Any]) -> dict[str, str]:
    """Option by group, of Hydra's choices: what a table of runs names them by. It is no part of what a run is."""
    return {
        group: str(option)
        for group, option in choices.items()
        if option is not None and group.isidentifier() and group not in ("launcher", "tracking")
    }


def run_name(*, _root_: Any) -> str:
    """The name of a run's folder, such as cifar10-resnext29-inhibition-seed0-1f0c5a2b3d.

    The resolver `${run_name:}` of conf/train.yaml; `_root_` is the configuration with Hydra's own node.
    """
    choices = _root_.hydra.runtime.choices
    names = [str(choices.get(group)) for group in ("dataset", "backbone", "tenet")]
    names += [str(choices[group]) for group, usual in USUAL.items() if choices.get(group, usual) != usual]
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
    config = load_config(run_dir)
    for group in (group for group in config.values() if isinstance(group, dict)):
        target = group.get("_target_")
        old = next((old for old in MOVED if isinstance(target, str) and target.startswith(old)), None)
        if old is not None:
            group["_target_"] = MOVED[old] + str(target).removeprefix(old)
    check_rules(config)
    return config


def load_config(run_dir: Path) -> dict[str, Any]:
    """The content of a run folder's configuration, of any version.

    Raises ConfigError if it is not the configuration of a run, or if a link leads out of the folder: then the folder is
    not one of ours.
    """
    path = run_dir / CONFIG_FILE
    try:
        config = read_yaml(path)
        leading_out = next(links_out(run_dir), None)
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
    config = {**ADDED_GROUPS, **config}
    if lacking := [key for key in RUN_KEYS if key not in config]:
        raise ConfigError(f"{path} is not the configuration of a run: it lacks {', '.join(lacking)}")
    return config


def resumed_config(run_dir: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The run's own configuration, with `overrides` of keys in CHANGEABLE_ON_RESUME.

    Raises ConfigError for any other override.
    """
    config = read_config(run_dir)
    for override in parse(overrides):
        key = override.get_key_element().removeprefix("++")
        if key == "resume" or is_hydras(key) or key.partition(".")[0] == "launcher":
            continue
        if key not in CHANGEABLE_ON_RESUME:
            raise ConfigError(
                f"{override.input_line}: a resumed run keeps its configuration, except "
                f"{', '.join(CHANGEABLE_ON_RESUME)}"
            )
        if key == "trainer.processes" and override.value() != "any":
            raise ConfigError(
                f"{override.input_line}: a resumed run continues in as many processes as before; to continue with another "
                "number, which changes the figures, give trainer.processes=any"
            )
        group, _, name = key.partition(".")
        if key == "trainer.epochs":
            # The learning rates so far were those of a schedule of this length.
            length = schedule_epochs(config)
            config[group]["schedule_epochs"] = None if length == override.value() else length
        config[group][name] = override.value()
    check_rules(config)
    return config


def first_line(error: Exception) -> str:
    """The first line of an error that Hydra or OmegaConf raised, after the key that it concerns."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"{error.full_key}: {line}" if isinstance(error, OmegaConfBaseException) and error.full_key else line
    )


OmegaConf.register_new_resolver("run_name", run_name, replace=True)
