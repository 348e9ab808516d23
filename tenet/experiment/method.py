"""The training method of a configuration: an objective, perhaps under an attack, perhaps with inhibition on top."""

from collections.abc import Mapping
from typing import Any

from tenet.config.build import build, locate, prefix_errors
from tenet.distributed import ProcessGroup
from tenet.methods import Adversarial, Attack, Method


def build_method(config: Mapping[str, Any], *, process_group: ProcessGroup) -> Method:
    method = with_attack(config["attack"], build(config["objective"], key="objective"))
    inhibited = build(config["tenet"], key="tenet", method=method, process_group=process_group)
    return inhibited or method  # tenet=none builds nothing


def with_attack(config: Mapping[str, Any], objective: Method) -> Method:
    """The objective under the attack that `config` describes; the objective alone if it describes none.

    An `Attack` changes the images that the objective sees. A method that attacks in its own way wraps the objective.
    """
    if config["_target_"] is None:
        return objective
    found: Any = locate(config["_target_"], key="attack")
    if not issubclass(found, Attack):
        return build(config, key="attack", method=objective)
    with prefix_errors("attack"):
        return Adversarial(method=objective, attack=build(config, key="attack"))
