"""Every option of every group in conf/, composed and built as the entry points do."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra import compose, initialize_config_dir
from torch import nn

from tenet.config.build import build
from tenet.config.rules import rules_for
from tenet.config.run_config import resolve
from tenet.experiment.method import with_attack
from tenet.methods import Adversarial, CrossEntropy
from tenet.rules import Rule

CONF = Path(__file__).resolve().parents[2] / "conf"
GROUPS = (
    "dataset", "backbone", "tenet", "objective", "attack", "augment", "mixing", "optimizer", "schedule", "ema",
    "trainer", "tracking",
)  # fmt: skip
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
# Values that an option or an experiment requires.
REQUIRED = {"arrays": ["dataset.path=own.npz"]}
REQUIRED |= {name: ["dataset.path=own"] for name in ("folder", "images", "finetune")}
REQUIRED |= {library: ["backbone.name=resnet18"] for library in ("timm", "torchvision")}


def composed(*overrides: str, name: str = "train") -> dict[str, Any]:
    return deepcopy(_compose(name, overrides))


@cache
def _compose(name: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return resolve(compose(name, list(overrides)))


def composed_with(group: str, option: str) -> dict[str, Any]:
    """A configuration with this option, and with options of the other groups that other calls ask for."""
    row = [option for name, option in OPTIONS if name == group].index(option)
    by_group = {name: [option for one, option in OPTIONS if one == name] for name in GROUPS}
    chosen = {name: options[row % len(options)] for name, options in by_group.items()}
    required = [word for option in chosen.values() for word in REQUIRED.get(option, [])]
    return composed(*(f"{name}={option}" for name, option in chosen.items()), *required)


def build_group(group: str, config: dict[str, Any]) -> Any:
    if group == "backbone":
        with torch.device("meta"):
            return build(config[group], num_classes=7, key=group)
    if group == "optimizer":
        return build(config[group], nn.Linear(2, 1).parameters(), key=group)
    if group == "tenet":
        return build(config[group], key=group, method=CrossEntropy())
    if group == "attack":
        method = with_attack(config[group], CrossEntropy())
        if isinstance(method, CrossEntropy):
            return None
        return method.attack if isinstance(method, Adversarial) else method
    return build(config[group], key=group)


def every_rule() -> list[tuple[str, str | None, Rule]]:
    """Key, `_target_` of its group (None for a key without a class) and rule, for each key of each class."""
    found = {(key, None): rule for key, rule in rules_for({}).items()}
    for path in sorted(CONF.glob("*/*.yaml")):
        group, target = path.parent.name, yaml.safe_load(path.read_text()).get("_target_")
        for key, rule in rules_for({group: {"_target_": target}}).items():
            if target is not None and key.startswith(f"{group}."):
                found[key, target] = rule
    return [(key, target, rule) for (key, target), rule in found.items()]


def configuration(key: str, target: str | None, value: Any) -> dict[str, Any]:
    """The key alone with this value, in its group of this class."""
    config: Any = value
    for name in reversed(key.split(".")):
        config = {name: config}
    if target is not None:
        config[key.partition(".")[0]]["_target_"] = target
    return config
