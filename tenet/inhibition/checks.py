"""Input checks that the functions of the method share."""

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor


class NonFiniteFeaturesError(ValueError):
    """The features contain NaN or infinity, so their channels can't be compared."""


def full_precision(tensor: Tensor) -> torch.autocast:
    """Return a context that disables autocast, so that the method's own arithmetic keeps its precision."""
    return torch.autocast(device_type=tensor.device.type, enabled=False)


def check_groups(groups: int, channels: int) -> None:
    if not 1 <= groups <= channels:
        raise ValueError(f"groups={groups} must be from 1 to the number of channels, {channels}")


def check_finite(tensor: Shaped[Tensor, "..."], name: str) -> None:
    """Raise NonFiniteFeaturesError for NaN and infinity, on the CPU only.

    On other devices reading the result would make the host wait. There a non-finite feature makes the loss non-finite,
    and the training loop detects that without waiting.
    """
    if tensor.device.type == "cpu" and not torch.isfinite(tensor).all():
        raise NonFiniteFeaturesError(f"{name} contain NaN or infinity")


def check_assignments(assignments: Int64[Tensor, "batch channel"], groups: int) -> None:
    """Raise ValueError for group ids outside [0, groups), on the CPU only (see `check_finite`)."""
    check_groups(groups, assignments.shape[1])
    if assignments.device.type == "cpu" and assignments.numel():
        low, high = assignments.aminmax()
        if low < 0 or high >= groups:
            raise ValueError(f"assignments must be group ids in [0, {groups}), got {int(low)} to {int(high)}")


def check_labels(labels: Int64[Tensor, " batch"], classes: int) -> None:
    """Raise ValueError for labels outside [0, classes), on the CPU only (see `check_finite`)."""
    if labels.device.type == "cpu" and labels.numel():
        low, high = labels.aminmax()
        if low < 0 or high >= classes:
            raise ValueError(f"labels must be in [0, {classes}), got {int(low)} to {int(high)}")
