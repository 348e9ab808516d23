"""Every configuration key has a rule, every rule a key, and the defaults keep theirs."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tenet.config.rules import HINTS, RULES, check_rules, did_you_mean, flatten, rules_for
from tenet.errors import ConfigError
from tenet.rules import FLAG, TEXT, ListOf, Number, OneOf, OrNull, Rule
from tests.config.options import CONF, GROUPS, every_rule

MISSING = "???"


def keys_of(path: Path) -> Iterator[tuple[str, Any]]:
    """The keys and values that an option of a group, an experiment or a primary configuration sets."""
    text = path.read_text()
    group = path.parent.relative_to(CONF).as_posix()
    is_global = path.parent == CONF or text.startswith("# @package _global_")
    content = {
        name: value for name, value in yaml.safe_load(text).items() if name not in ("defaults", "hydra")
    }
    yield from flatten(content, "" if is_global else f"{group}.")


OPTIONS = sorted(path for path in CONF.rglob("*.yaml") if "hydra" not in path.relative_to(CONF).parts)
KEYS = [
    (path.relative_to(CONF).as_posix(), key, value)
    for path in OPTIONS
    for key, value in keys_of(path)
    if not key.endswith("_target_")
]


def test_there_are_options_to_judge() -> None:
    assert {"train.yaml", "evaluate.yaml", "tenet/inhibition.yaml", "experiment/quickstart.yaml"} <= {
        path.relative_to(CONF).as_posix() for path in OPTIONS
    }
    assert len(KEYS) > 60


@pytest.mark.parametrize("option", OPTIONS, ids=[path.relative_to(CONF).as_posix() for path in OPTIONS])
def test_every_key_has_a_rule_and_its_default_keeps_it(option: Path) -> None:
    defaults = dict(keys_of(option))
    group = option.parent.name
    of_class = rules_for({group: {"_target_": defaults.get(f"{group}._target_")}})
    any_class = {key: rule for key, _, rule in every_rule()}
    for key, value in defaults.items():
        rule = (of_class if group in (*GROUPS, "launcher") else any_class).get(key)
        if not key.endswith("_target_"):
            assert rule is not None, key
            assert value == MISSING or rule.allows(value), key


def test_every_rule_belongs_to_a_key() -> None:
    keys = {key for _, key, _ in KEYS}
    # These come with the data, the objective, the command line and the launcher, not from an option.
    built = {
        "backbone.num_classes", "backbone.weights_sha256", "attack.method", "tenet.method", "tenet.process_group",
        "suite.test", "suite.measures", "choices",
    }  # fmt: skip
    # An optimizer of PyTorch takes more arguments than its option lists: `+optimizer.amsgrad=true`.
    ruled = {key for key, _, _ in every_rule() if not key.startswith("optimizer.")}
    assert ruled - keys == built
    assert RULES.keys() == HINTS.keys()


NOT_NUMBERS: list[Any] = [True, False, None, "1", "", [1], {}, math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(
    ("rule", "allowed", "refused"),
    [
        (Number(), [0, -1.5, 1e300, 10**400], NOT_NUMBERS),
        (Number(0, 1), [0, 1, 0.5], [-1e-9, 1.01, *NOT_NUMBERS]),
        (Number(above=0), [1e-9, 7], [0, -1, *NOT_NUMBERS]),
        (Number(low=0, below=1), [0, 0.999], [1, 2, *NOT_NUMBERS]),
        (Number(1, 5, integer=True), [1, 5], [0, 6, 1.0, 2.5, *NOT_NUMBERS]),
        (Number(0, integer=True), [0, 2**70], [-1, 0.0, *NOT_NUMBERS]),
        (OneOf(("auto", "cpu")), ["auto", "cpu"], ["cuda", "", None, True, 0, ["cpu"]]),
        (OneOf((1, 2)), [1, 2], [True, 1.0, "1", None]),
        (FLAG, [True, False], [0, 1, "true", "", None]),
        (TEXT, ["a", "???"], ["", None, 1, True, ["a"], {"a": 1}]),
        (ListOf(Number(1, integer=True)), [[], [1], (1, 2)], [[0], [1, 1.5], [True], "12", 1, None, {1: 1}]),
        (ListOf(Number(), 3), [[0.5, 0.5, 0.5]], [[0.5, 0.5], [0.5] * 4, [0.5, 0.5, None], "abc"]),
        (ListOf(TEXT), [["a", "b"], []], ["ab", [1], [""], None]),
        (OrNull(Number(1, integer=True)), [None, 3], [0, "", "null", False]),
    ],
)
def test_a_rule_allows_what_it_should_and_nothing_else(
    rule: Rule, allowed: list[Any], refused: list[Any]
) -> None:
    assert [value for value in allowed if not rule.allows(value)] == []
    assert [value for value in refused if rule.allows(value)] == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Number(), "a number"),
        (Number(1, integer=True), "an integer of at least 1"),
        (Number(0, 1), "a number of at least 0 and at most 1"),
        (Number(above=0, below=0.5), "a number of more than 0 and less than 0.5"),
        (OneOf(("fp32", "bf16")), "one of fp32, bf16"),
        (FLAG, "true or false"),
        (TEXT, "a text of 1 to 4,096 characters without control characters"),
        (ListOf(FLAG), "a list of true or false"),
        (ListOf(Number(above=0), 3), "a list of 3 of a number of more than 0"),
        (OrNull(FLAG), "true or false, or null"),
    ],
)
def test_a_rule_says_what_it_allows(rule: Rule, words: str) -> None:
    assert rule.describe() == words


def test_leaves_are_dotted_keys_and_a_list_is_a_value() -> None:
    config = {"seed": 1, "trainer": {"epochs": 2, "deep": {"tags": [1, 2]}}, "empty": {}}
    assert dict(flatten(config)) == {"seed": 1, "trainer.epochs": 2, "trainer.deep.tags": [1, 2]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"tenet": {"groups": 0}}, "tenet.groups=0: must be an integer of at least 1"),
        ({"tenet": {"groups": {"a": 1}}}, "tenet.groups={'a': 1}: must be an integer of at least 1"),
        ({"seed": True}, "seed=true: must be an integer of at least 0"),
        ({"tenet": {"group": 4}}, "there is no key tenet.group; did you mean tenet.groups"),
        ({"trainer": 3}, "there is no key trainer"),
    ],
)
def test_a_broken_rule_is_told_with_key_value_and_rule(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_rules(config)
    assert str(error.value).startswith(message)


def test_targets_and_further_arguments_of_pytorchs_optimizers_need_no_rule() -> None:
    check_rules({"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1, "dampening": 0.5}})
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        check_rules({"optimizer": {"lr": 0}})


def test_the_nearest_name_comes_first_and_nothing_where_none_is_near() -> None:
    assert did_you_mean("tenet.gruops", rules_for({})).startswith("; did you mean tenet.groups")
    assert did_you_mean("groups", ["seed", "tenet.groups"]) == "; did you mean tenet.groups?"
    assert did_you_mean("xyzzy", RULES) == ""
