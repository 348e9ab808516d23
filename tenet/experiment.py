"""The network of a configuration: in outline, and itself once its weights are known to fit into memory."""

import os
from collections.abc import Mapping
from typing import Any

import torch

from tenet.config.build import build
from tenet.errors import ConfigError


def build_on_meta(config: Mapping[str, Any], *, num_classes: int = 2) -> Any:
    """The network on the meta device, which has shapes and no memory.

    Raises ConfigError where the weights would take more memory than this machine has.
    """
    with torch.device("meta"):
        outline = build(config, num_classes=num_classes, key="backbone")
    needed = sum(tensor.numel() * tensor.element_size() for tensor in outline.state_dict().values())
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ConfigError(
            f"backbone: its weights take {needed / 1e9:,.1f} GB, and this machine has {there / 1e9:,.1f} GB of "
            "memory; choose a smaller one"
        )
    return outline


def build_network(config: Mapping[str, Any], *, num_classes: int) -> Any:
    """Raises ConfigError as `build_on_meta` does."""
    build_on_meta(config, num_classes=num_classes)
    return build(config, num_classes=num_classes, key="backbone")
