"""What each configuration key may hold. Checked before anything is built or read, without importing torch."""

import ast
import collections.abc
import functools
import typing
from collections.abc import Container, Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from typing import Annotated, Any, Literal

import tenet.rules
from tenet.config.build import ALLOWED_TARGETS, is_allowed, refusal
from tenet.config.sources import arguments_of, find_definition, parse_module
from tenet.errors import ConfigError
from tenet.rules import SETTING, Fraction, Rule, above, at_least, at_most, below, length, rule_of

MAX_SHOWN = 200  # characters of a value that a message repeats
OPTIMIZER = "optimizer"
SEED = Annotated[int, at_least(0), at_most(2**63 - 1)]

# Annotations of the keys that no class of this package takes, in the form of tenet/rules.py.
HINTS: dict[str, Any] = {
    "seed": SEED,
    "choices": Mapping[str, str],
    "resume": str | None,
    "rerun": bool,
    "backbone.weights": str | None,
    "backbone.weights_key": str | None,
    "backbone.weights_sha256": str | None,
    "optimizer.lr": Annotated[float, above(0)],
    "optimizer.momentum": Annotated[float, at_least(0), below(1)],
    "optimizer.nesterov": bool,
    "optimizer.weight_decay": Annotated[float, at_least(0)],
    "optimizer.betas": Annotated[list[Annotated[float, at_least(0), below(1)]], length(2)],
    "optimizer.eps": Annotated[float, above(0)],
    "optimizer.fused": bool | None,
    "run": str | None,
    "weights": str | None,
    "weights_key": str | None,
    "corruptions.root": str | None,
    "corruptions.names": list[str] | None,
    "corruptions.severities": list[Annotated[int, at_least(1), at_most(5)]],
    "corruptions.seed": SEED,
    "corruptions.normalize": Literal["auto", "none", "alexnet"],
    "attacks.names": list[Literal["fgsm", "pgd", "apgd", "autoattack"]] | None,
    "attacks.radius": Fraction | list[Fraction],
    "attacks.norm": Literal["linf", "l2"],
    "attacks.images": Annotated[int, at_least(1)] | None,
    "attacks.steps": Annotated[int, at_least(1)],
    "attacks.step_size": Fraction | None,
    "attacks.restarts": Annotated[int, at_least(1)],
    "attacks.autoattack": list[Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"]] | None,
    "measures.calibration": bool,
    "measures.likelihood": bool,
    "measures.per_class": bool,
    "measures.intervals": bool,
    "cifar101": str | None,
    "cifar_p": str | None,
    "save_predictions": bool,
    "device": Literal["auto", "cpu", "cuda"],
    "precision": Literal["fp32", "bf16"],
    "channels_last": bool | None,
    "batch_size": Annotated[int, at_least(1)],
    "timeout_minutes": Annotated[int | float, above(0)],
    "output": str | None,
}
RULES: dict[str, Rule] = {key: rule_of(hint) or SETTING for key, hint in HINTS.items()}

# The names that annotations are evaluated with. A configuration can't give a value of another type, such as Tensor.
NAMES = {**vars(collections.abc), **vars(typing), **vars(tenet.rules), "typing": typing}


def check_rules(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first value that breaks its rule and for a key that nothing would read."""
    rules = rules_for(config)
    for key, value in flatten(config, whole=rules):
        group, _, name = key.rpartition(".")
        if name == "_target_" and group in ALLOWED_TARGETS:
            continue  # `rules_for` has found it
        rule = rules.get(key)
        if rule is None:
            raise ConfigError(f"there is no key {truncate(key)}{did_you_mean(key[:MAX_SHOWN], rules)}")
        if not rule.allows(value):
            hint = ""
            if rule.allows([value]):
                hint = f"; write {key}=[{truncate(value)}]"
            elif rule.allows(str(value)):
                hint = f"; write text in quotes: '{key}=\"...\"'"
            raise ConfigError(f"{key}={truncate(value)}: must be {rule.describe()}{hint}")


def rules_for(config: Mapping[str, Any]) -> dict[str, Rule]:
    """The rule of every key that the configuration may hold, given the classes that its groups name.

    Raises ConfigError for a class that is not allowed. HINTS take precedence over the classes.
    """
    rules: dict[str, Rule] = {}
    for group in ALLOWED_TARGETS:
        chosen = config.get(group)
        target = chosen.get("_target_") if isinstance(chosen, Mapping) else None
        if not isinstance(target, str | None):
            raise refusal(truncate(target), key=group)
        of_class = class_rules(target, group=group)
        rules.update((f"{group}.{name}", rule) for name, rule in of_class.items())
    has_optimizer = any(key.startswith(f"{OPTIMIZER}.") for key in rules)
    return rules | {
        key: rule
        for key, rule in RULES.items()
        if key in rules or not (has_optimizer and key.startswith(f"{OPTIMIZER}."))
    }


def without_foreign_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the chosen class of a group does not take but another class of the group does.

    Such a key was set by an experiment for the option that it expected, or by an option for another `_target_`. One
    that the user has typed must be refused before. A key that no class of the group takes stays, and is refused.
    """
    kept = dict(config)
    for group in ALLOWED_TARGETS:
        chosen = config.get(group)
        if not isinstance(chosen, Mapping) or not isinstance(chosen.get("_target_", 0), str | None):
            continue
        target = chosen["_target_"]
        own = {} if target is None else class_rules(target, group=group)
        foreign = chosen.keys() - own.keys() - {"_target_"}
        foreign = foreign and foreign & keys_of_group(group)
        kept[group] = {name: value for name, value in chosen.items() if name not in foreign}
    return kept


@functools.cache
def keys_of_group(group: str) -> frozenset[str]:
    """The arguments of all classes, and of the functions that build backbones, that the group's package offers."""
    package = ALLOWED_TARGETS[group].package
    names = []
    for node in parse_module(package):
        if isinstance(node, ast.ImportFrom):
            names += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.ClassDef):
            names.append(node.name)
    kinds = ast.ClassDef | ast.FunctionDef if group == "backbone" else ast.ClassDef
    found = [one for name in names if (one := find_definition(package, name)) and isinstance(one[1], kinds)]
    return frozenset(name for one in found for name, _ in arguments_of(*one))


@functools.cache
def class_rules(target: str | None, *, group: str) -> dict[str, Rule]:
    """Rules by argument of the class `target`; of the group's base class if None.

    They are read from the class's source, because importing it would import torch. The arguments are those of
    `__init__`, or the fields of a dataclass, base classes included.
    Raises ConfigError if the package of the group defines no such class.
    """
    module, _, name = (ALLOWED_TARGETS[group].bases[0] if target is None else target).rpartition(".")
    found = find_definition(module, name) if is_allowed(module, key=group) else None
    if found is None or not is_allowed(found[0], key=group):
        if target is None:
            return {}  # the base class is not ours
        raise refusal(target, key=group)
    if (
        group == OPTIMIZER
    ):  # PyTorch's annotations describe tensors too; HINTS hold the rules of its arguments
        return {name: SETTING for name, _ in arguments_of(*found) if name != "params"}
    return {name: _rule(annotation) for name, annotation in arguments_of(*found)}


def _rule(annotation: ast.expr | None) -> Rule:
    try:
        hint = eval(ast.unparse(annotation), NAMES) if annotation else None
    except Exception:  # of other types, which no configuration can give
        hint = None
    return rule_of(hint) or SETTING


def flatten(
    config: Mapping[str, Any], prefix: str = "", *, whole: Container[str] = ()
) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values. A list is a value, and so is a mapping under one of the keys in `whole`."""
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key not in whole:
            yield from flatten(value, f"{key}.", whole=whole)
        else:
            yield key, value


def truncate(value: Any) -> str:
    """The value as text for a message, at most MAX_SHOWN characters long; null, true and false as they are typed."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        text = str(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """`; did you mean a, b?`; empty if no candidate is similar to `name`, as a whole or in its last part."""
    name = name[:MAX_SHOWN]  # comparing takes time in proportion to the square of the length

    def similarity(candidate: str) -> float:
        whole = SequenceMatcher(None, name, candidate).ratio()
        last = SequenceMatcher(None, name.rpartition(".")[2], candidate.rpartition(".")[2]).ratio()
        return max(whole, 0.95 * last)

    near = [key for key in sorted(candidates, key=similarity, reverse=True)[:3] if similarity(key) > 0.6]
    return f"; did you mean {', '.join(near)}?" if near else ""
