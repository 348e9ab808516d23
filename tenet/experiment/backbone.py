"""The backbone of a configuration, also without memory, and the size of images that it takes."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tenet.config.build import build
from tenet.errors import ConfigError
from tenet.networks import Network, find_cuts

# The side of images that checks assume before the data is read: that of CIFAR's.
NOMINAL_SIZE = 32
# Of a network that is built to be checked.
OUTLINE_CLASSES = 2


def build_on_meta(config: Mapping[str, Any], *, num_classes: int = OUTLINE_CLASSES) -> nn.Module:
    """The backbone on the meta device, which has shapes and takes no memory.

    Raises ConfigError if its weights would take more memory than this machine has.
    """
    with torch.device("meta"):
        outline = build(config, num_classes=num_classes, key="backbone")
    needed = sum(tensor.numel() * tensor.element_size() for tensor in outline.state_dict().values())
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available:
        raise ConfigError(
            f"backbone: its weights take {needed / 1e9:,.1f} GB, and this machine has {available / 1e9:,.1f} GB of "
            "memory; choose a smaller one"
        )
    return outline


def build_backbone(config: Mapping[str, Any], *, num_classes: int) -> nn.Module:
    """Raises ConfigError as `build_on_meta` does."""
    build_on_meta(config, num_classes=num_classes)
    return build(config, num_classes=num_classes, key="backbone")


def find_image_shape(backbone: nn.Module, *, crop: int | None) -> tuple[int, int, int]:
    """The shape of images before the data is read: the data set's `crop`, the size of CIFAR's images, or the model's usual
    one, whichever the backbone, on the meta device, takes first. Raises ConfigError if it takes none of them."""
    error = ConfigError("backbone: it takes no size of images")
    for size in filter(None, (crop, NOMINAL_SIZE, getattr(backbone, "usual_image_size", None))):
        try:
            find_cuts(backbone, (3, size, size))
        except ValueError as refusal:
            error = ConfigError(f"backbone: {refusal}")
        else:
            return 3, size, size
    raise error


def check_forward(outline: Network, image_shape: tuple[int, int, int]) -> None:
    """Raise ValueError unless the network, on the meta device, takes images of this shape, and returns a logit for each
    of OUTLINE_CLASSES."""
    try:
        find_cuts(outline.backbone, image_shape)
    except ValueError as error:
        raise ValueError(
            f"{error}; give it other images (dataset.crop), or the model their size (such as +backbone.kwargs.img_size)"
        ) from error
    logits = outline(torch.zeros(2, *image_shape, device="meta"))
    if logits.shape[1] != OUTLINE_CLASSES:
        raise ValueError(
            f"{type(outline.backbone).__name__} returns {logits.shape[1]} logits for {OUTLINE_CLASSES} classes; its last "
            "layer must have num_classes of them"
        )
