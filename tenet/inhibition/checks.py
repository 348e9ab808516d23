"""What the functions of the method demand of their inputs, in one place."""

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor


class NonFiniteFeaturesError(ValueError):
    """The features hold NaN or infinity: channels can't be compared."""


def full_precision(tensor: Tensor) -> torch.autocast:
    """The method's own arithmetic stays in float32 under a surrounding autocast."""
    return torch.autocast(device_type=tensor.device.type, enabled=False)


def check_groups(groups: int, channels: int) -> None:
    if not 1 <= groups <= channels:
        raise ValueError(f"groups={groups} must be from 1 to the number of channels, {channels}")


def check_finite(tensor: Shaped[Tensor, "..."], name: str) -> None:
    """Refuse NaN and infinity. On the CPU alone: elsewhere the host would wait for the answer, and
    there a non-finite feature shows in the loss, which the training loop watches without waiting."""
    if tensor.device.type == "cpu" and not torch.isfinite(tensor).all():
        raise NonFiniteFeaturesError(f"{name} contain NaN or infinity")


def check_assignments(assignments: Int64[Tensor, "batch channel"], groups: int) -> None:
    """Refuse group ids outside [0, groups); on the CPU alone, for the reason above."""
    check_groups(groups, assignments.shape[1])
    if assignments.device.type == "cpu" and assignments.numel():
        low, high = assignments.aminmax()
        if low < 0 or high >= groups:
            raise ValueError(f"assignments must be group ids in [0, {groups}), got {int(low)} to {int(high)}")


def check_labels(labels: Int64[Tensor, " batch"], classes: int) -> None:
    """Refuse labels outside [0, classes); on the CPU alone, for the reason above."""
    if labels.device.type == "cpu" and labels.numel():
        low, high = labels.aminmax()
        if low < 0 or high >= classes:
            raise ValueError(f"labels must be in [0, {classes}), got {int(low)} to {int(high)}")
