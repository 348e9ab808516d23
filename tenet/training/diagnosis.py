"""Diagnosis of a network whose loss or gradient is not finite."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def diagnose(model: nn.Module) -> dict[str, Any]:
    """Return the names of non-finite weights, gradients and buffers, and the largest weight and gradient by name."""
    gradients = [(name, one.grad) for name, one in model.named_parameters() if one.grad is not None]
    return {
        "weights_not_finite": not_finite(model.named_parameters()),
        "gradients_not_finite": not_finite(gradients),
        "buffers_not_finite": not_finite(model.named_buffers()),
        "largest_weight": _largest(model.named_parameters()),
        "largest_gradient": _largest(gradients),
    }


def not_finite(named: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Return the names of the tensors that contain NaN or infinity. The host waits for each tensor."""
    return [name for name, tensor in named if not torch.isfinite(tensor).all()]


def _largest(named: Iterable[tuple[str, Tensor]]) -> dict[str, float]:
    """Return the name of the tensor with the largest finite magnitude, and that magnitude; empty without tensors."""
    sizes = {
        name: tensor.detach().abs().nan_to_num(nan=0.0, posinf=0.0).max().item()
        for name, tensor in named
        if tensor.numel()
    }
    if not sizes:
        return {}
    name = max(sizes, key=sizes.__getitem__)
    return {name: sizes[name]}
