"""Model weights as files: state dicts are read without running pickled code and written as safetensors."""

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

# Prefixes that DataParallel, DistributedDataParallel and torch.compile add to every name.
WRAPPER_PREFIXES = re.compile(r"^(?:module\.|_orig_mod\.)+")
# The number of weight names that an error message lists, and the number of characters of each.
MAX_LISTED, MAX_LENGTH = 10, 100
# The keys under which our checkpoints, and those of common training scripts, store the weights.
WEIGHT_KEYS = ("model", "state_dict", "model_state_dict")
# The key of the checksum: in a checkpoint, of all its other content; in safetensors metadata, of the weights.
CHECKSUM = "sha256"


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load weights into `model` from a .pth, .pt or .safetensors file that holds a state dict or a checkpoint.

    Wrapper prefixes of names (`module.`, `_orig_mod.`) are stripped. Pickled code never runs.
    Raises CheckpointError, which names the file and its missing, unexpected and misshapen keys; the model is
    then unchanged.
    """
    found = read_weights(Path(path))
    weights = {WRAPPER_PREFIXES.sub("", name): tensor for name, tensor in found.items()}
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
        raise CheckpointError(f"{path} does not fit {type(model).__name__}: {listed}")
    model.load_state_dict(weights)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(name[:MAX_LENGTH] for name in names[:MAX_LISTED]) + more


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Return the state dict in a file, at the top level or under one of `WEIGHT_KEYS`.

    Raises CheckpointError if the file can't be read, does not match its checksum or holds no state dict.
    """
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        raise CheckpointError(f"{path}: weights are read from .pth, .pt and .safetensors files")
    content: Any
    if path.suffix == ".safetensors":
        content, metadata = read_safetensors(path)
        # Files of other programs have no checksum in their metadata.
        if metadata.get(CHECKSUM, expected := checksum(content)) != expected:
            raise CheckpointError(
                f"{path} is damaged: its content does not match its checksum; get another copy "
                "(python train.py resume=RUN_DIR writes it again from a run's checkpoint)"
            )
    else:
        content = read_tensors(path)
    for key in WEIGHT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not (
        isinstance(content, Mapping)
        and content
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items())
    ):
        raise CheckpointError(
            f"{path} holds no state dict: names and tensors, at the top level or under {WEIGHT_KEYS}"
        )
    return content


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the model's state dict as safetensors, with its checksum in the metadata."""
    from safetensors.torch import save

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = save(weights, metadata={CHECKSUM: checksum(weights)})
    # Not save_file: it ignores the umask and makes files readable by their owner only.
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def holds_weights(path: Path, model: nn.Module) -> bool:
    """Whether the weights in the file are identical to the model's; False if the file can't be read."""
    try:
        return checksum(read_weights(path)) == checksum(model.state_dict())
    except CheckpointError:
        return False


def checksum(content: Any) -> str:
    """Return the SHA-256 of nested plain values and tensors. The order of a mapping's keys does not matter."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(f"tensor {value.dtype} {list(value.shape)} ".encode())
            # View as bytes: NumPy has no bfloat16.
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
