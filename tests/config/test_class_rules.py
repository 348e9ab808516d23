"""The rules of a class's arguments are read from its source as Python would read its annotations."""

import os
import shutil
import subprocess
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml

from tenet.config.build import locate
from tenet.config.rules import class_rules
from tenet.errors import ConfigError
from tenet.rules import (
    FLAG,
    SETTING,
    TEXT,
    AnyOf,
    ListOf,
    Number,
    OneOf,
    OrNull,
    Rule,
    above,
    at_least,
    at_most,
    below,
    check_arguments,
    length,
    rule_of,
)
from tests.config.options import CONF

TARGETS = sorted(
    (path.parent.name, target)
    for path in CONF.glob("*/*.yaml")
    if (target := yaml.safe_load(path.read_text()).get("_target_")) and path.parent.name != "optimizer"
)


@pytest.mark.parametrize(("group", "target"), TARGETS, ids=[f"{group}-{name}" for group, name in TARGETS])
def test_the_source_says_what_the_imported_class_says(group: str, target: str) -> None:
    located = locate(target, key=group)
    constructor = located.__init__ if isinstance(located, type) else located
    hints = typing.get_type_hints(constructor, include_extras=True)
    expected = {name: rule_of(hint) or SETTING for name, hint in hints.items() if name != "return"}
    assert class_rules(target, group=group) == expected


@pytest.mark.parametrize(
    ("hint", "rule"),
    [
        (bool, FLAG),
        (str, TEXT),
        (int, Number(-(10**9), 10**9, integer=True)),
        (float, Number(-(10**6), 10**6)),
        (int | float, Number(-(10**6), 10**6)),
        (Literal["a", "b"], OneOf(("a", "b"))),
        (str | None, OrNull(TEXT)),
        (Sequence[str], ListOf(TEXT)),
        (list[bool], ListOf(FLAG)),
        (Annotated[int, at_least(1)], Number(1, 10**9, integer=True)),
        (Annotated[int, at_most(5), at_least(1)], Number(1, 5, integer=True)),
        (Annotated[float, above(0)], Number(above=0, high=10**6)),
        (Annotated[float, at_least(0), below(1)], Number(0, below=1)),
        (Annotated[int, at_least(1)] | None, OrNull(Number(1, 10**9, integer=True))),
        (Annotated[int | None, at_least(1)], OrNull(Number(1, 10**9, integer=True))),
        (Annotated[Sequence[Annotated[float, above(0)]], length(3)], ListOf(Number(above=0, high=10**6), 3)),
        (Annotated[str, "a comment"], TEXT),
        (int | Literal["any"], AnyOf((Number(-(10**9), 10**9, integer=True), OneOf(("any",))))),
        (Path | int, None),
        (dict[str, int], None),
        (Path, None),
        ("Tensor", None),
    ],
)
def test_an_annotation_implies_a_rule(hint: Any, rule: Rule | None) -> None:
    assert rule_of(hint) == rule


def test_a_constructor_refuses_what_its_annotations_do() -> None:
    def function(depth: Annotated[int, at_least(1)], path: Path, flip: bool = True) -> None: ...

    check_arguments(function, {"depth": 1, "path": 5, "other": 0})
    with pytest.raises(ValueError, match=r"^flip=1 must be true or false$"):
        check_arguments(function, {"depth": 2, "flip": 1})


CLASSES = """
from typing import Annotated
from torch import nn
from tenet.networks import ResNet as Parent
from tenet.rules import at_least

class Scaled(Parent):
    def __init__(self, num_classes: int, depth: Annotated[int, at_least(8)] = 8, *, scale: float = 1.0,
                 act: nn.Module | None = None, free=3) -> None:
        super().__init__(num_classes, depth)
        self.scale = scale

class Same(Scaled):
    other: int
"""
OPTION = """
_target_: tenet.networks.scaled.Same
depth: 14
scale: 0.5
"""
USE = """
import sys
from pathlib import Path
from hydra import compose, initialize_config_dir
from tenet.config.build import build
from tenet.config.command_line import check_command_line
from tenet.config.run_config import resolve
from tenet.errors import ConfigError

conf = Path("conf").resolve()
for word in ("scale=2.5", "depth=7", "scale=big", "scal=1", "width=3"):
    try:
        check_command_line(["backbone=scaled", f"backbone.{word}"], config_dir=conf, config_name="train")
        print(word, "passes")
    except ConfigError as error:
        print(error)
assert "torch" not in sys.modules
with initialize_config_dir(str(conf), version_base="1.3"):
    config = resolve(compose("train", ["backbone=scaled", "backbone.scale=2.5"]))
print(build(config["backbone"], num_classes=3, key="backbone").scale)
"""


@pytest.mark.slow
def test_a_new_class_and_its_option_need_no_other_change(tmp_path: Path) -> None:
    for folder in ("tenet", "conf"):
        shutil.copytree(CONF.parent / folder, tmp_path / folder)
    (tmp_path / "tenet" / "networks" / "scaled.py").write_text(CLASSES)
    (tmp_path / "conf" / "backbone" / "scaled.yaml").write_text(OPTION)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        "scale=2.5 passes",
        "backbone.depth=7: must be an integer of at least 8 and at most 1,000,000,000",
        "backbone.scale=big: must be a number of at least -1,000,000 and at most 1,000,000",
        "there is no key backbone.scal; did you mean backbone.scale, backbone.weights, backbone.depth?",
        "the chosen backbone has no key backbone.width; choose another backbone=OPTION",
        "2.5",
    ], done.stderr


def test_a_class_that_the_package_does_not_define_has_no_rules() -> None:
    for target in (
        "tenet.data.datasets.Path",
        "tenet.data.digits.Digits",
        "tenet.data.Digit",
        "tenet.data.",
        "os.PathLike",
    ):
        with pytest.raises(
            ConfigError,
            match=rf"^dataset\._target_={target}: must be a class of tenet\.data(, and no.* os .*)?$",
        ):
            class_rules(target, group="dataset")


def test_only_the_packages_own_sources_are_read(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("class Digits:\n    def __init__(self, name: print('read')): ...\n")
    for module in (f"tenet.data.{tmp_path}/other", "tenet.data./../../other", "tenet.data.\0"):
        with pytest.raises(ConfigError, match="must be a class of"):
            class_rules(f"{module}.Digits", group="dataset")
