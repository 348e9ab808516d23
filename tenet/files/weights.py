"""Weights of models as files: state dicts read without running pickled code, written as safetensors."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tenet.errors import CheckpointError
from tenet.files.atomic import write_atomically
from tenet.files.tensors import read_safetensors, read_tensors

# What DataParallel, DistributedDataParallel and torch.compile put before every name.
WRAPPER_PREFIXES = re.compile(r"^(?:module\.|_orig_mod\.)+")


# How many names of weights a message lists, and how much of each.
MAX_LISTED, MAX_LENGTH = 10, 100


# Where checkpoints of common training scripts, and ours, keep the weights.
WEIGHT_KEYS = ("model", "state_dict", "model_state_dict")


# Under this key a checkpoint holds the checksum of all its other content, as weights do in their metadata.
CHECKSUM = "sha256"


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a .pth, .pt or .safetensors file of weights into `model`: a state dict, or a checkpoint with one.

    Prefixes that wrappers leave on names (`module.`, `_orig_mod.`) are stripped. Pickled code never runs.
    Raises CheckpointError naming the file and its missing, unexpected and misshapen keys; the model is
    then unchanged.
    """
    put_weights(model, read_weights(Path(path)), source=Path(path))


def put_weights(model: nn.Module, state: Any, *, source: Path) -> None:
    """Load a state dict that was read from `source`, as `load_weights` does."""
    weights = {strip_prefixes(name): tensor for name, tensor in _state_dict(state, source=source).items()}
    expected = model.state_dict()
    problems = {
        "missing": sorted(expected.keys() - weights.keys()),
        "unexpected": sorted(weights.keys() - expected.keys()),
        "misshapen": [
            f"{name} ({list(weights[name].shape)} instead of {list(expected[name].shape)})"
            for name in sorted(expected.keys() & weights.keys())
            if weights[name].shape != expected[name].shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{kind}: {_some(names)}" for kind, names in problems.items() if names)
        raise CheckpointError(f"{source} does not fit {type(model).__name__}: {listed}")
    model.load_state_dict(weights)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(name[:MAX_LENGTH] for name in names[:MAX_LISTED]) + more


def strip_prefixes(name: str) -> str:
    return WRAPPER_PREFIXES.sub("", name)


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The state dict in a file, whichever of the known places it is in."""
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        raise CheckpointError(f"{path}: weights are read from .pth, .pt and .safetensors files")
    content: Any
    if path.suffix == ".safetensors":
        content, metadata = read_safetensors(path)
        # Where `save_weights` left a checksum beside them, they must be what it saved.
        if metadata.get(CHECKSUM, expected := checksum(content)) != expected:
            raise CheckpointError(
                f"{path} is damaged: its content does not have its checksum; get it anew "
                "(python train.py resume=RUN_DIR writes it from a run's checkpoint)"
            )
    else:
        content = read_tensors(path)
    for key in WEIGHT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    return _state_dict(content, source=path)


def _state_dict(content: Any, *, source: Path) -> Mapping[str, Tensor]:
    if not (
        isinstance(content, Mapping)
        and content
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items())
    ):
        raise CheckpointError(
            f"{source} holds no state dict: names and tensors, at the top or under {WEIGHT_KEYS}"
        )
    return content


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the model's state dict as safetensors, with its checksum in the metadata."""
    from safetensors.torch import save

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = save(weights, metadata={CHECKSUM: checksum(weights)})
    # Not save_file: its files are for their owner's eyes alone, whatever the umask.
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def holds_weights(path: Path, model: nn.Module) -> bool:
    """Whether the file holds the model's very weights."""
    try:
        return checksum(read_weights(path)) == checksum(model.state_dict())
    except CheckpointError:
        return False


def checksum(content: Any) -> str:
    """SHA-256 over plain values and tensors, whatever the order of a mapping's keys."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(f"tensor {value.dtype} {list(value.shape)} ".encode())
            # By bytes: NumPy has no bfloat16.
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, Mapping):
            digest.update(f"mapping {len(value)} ".encode())
            for key in sorted(value, key=repr):
                add(key)
                add(value[key])
        elif isinstance(value, list | tuple):
            digest.update(f"sequence {len(value)} ".encode())
            for item in value:
                add(item)
        else:
            digest.update(f"{type(value).__name__} {value!r} ".encode())

    add(content)
    return digest.hexdigest()


def fingerprint(*tensors: Tensor) -> str:
    """Short, and other for other content, shape or type."""
    return checksum(tensors)[:16]
