"""Reading weights and writing checkpoints: tensors and plain values only, each file whole or not there."""

import hashlib
import logging
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tenet.errors import CheckpointError

logger = logging.getLogger("tenet")

# What DataParallel, DistributedDataParallel and torch.compile put before every name.
WRAPPER_PREFIXES = ("module.", "_orig_mod.")
# Where checkpoints of common training scripts, and ours, keep the weights.
WEIGHT_KEYS = ("model", "state_dict", "model_state_dict")
# Under this key a checkpoint holds the checksum of all its other content.
CHECKSUM = "sha256"


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: readers see the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a .pth, .pt or .safetensors file of weights into `model`: a state dict, or a checkpoint with one.

    Prefixes that wrappers leave on names (`module.`, `_orig_mod.`) are stripped. Pickled code never runs.
    Raises CheckpointError naming the file and its missing, unexpected and misshapen keys; the model is
    then unchanged.
    """
    weights = {strip_prefixes(name): tensor for name, tensor in read_weights(Path(path)).items()}
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
        listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names)
        raise CheckpointError(f"{path} does not fit {type(model).__name__}: {listed}")
    model.load_state_dict(weights)


def strip_prefixes(name: str) -> str:
    while (stripped := name.removeprefix(WRAPPER_PREFIXES[0]).removeprefix(WRAPPER_PREFIXES[1])) != name:
        name = stripped
    return name


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The state dict in a file, whichever of the known places it is in."""
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        raise CheckpointError(f"{path}: weights are read from .pth, .pt and .safetensors files")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else read_tensors(path)
    for key in WEIGHT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not (
        isinstance(content, Mapping)
        and content
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items())
    ):
        raise CheckpointError(
            f"{path} holds no state dict: names and tensors, at the top or under {WEIGHT_KEYS}"
        )
    return content


def read_tensors(path: Path) -> Any:
    """What torch.save wrote, if it is tensors and plain values; anything else is refused, unexecuted."""
    _require_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # broken bytes trip the reader in many ways: IndexError, struct.error, ...
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error):
            # torch's own words advise to load it all the same.
            reason = "it holds other objects, which are never loaded"
        raise CheckpointError(f"{path} can't be read as tensors and plain values: {reason}") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _require_file(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read as safetensors: {error}") from error


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file")


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the model's state dict as safetensors."""
    from safetensors.torch import save

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    # Not save_file: its files are for their owner's eyes alone, whatever the umask.
    write_atomically(path, lambda temporary: temporary.write_bytes(save(weights)))


def checksum(content: Any) -> str:
    """SHA-256 over plain values and tensors, whatever the order of a mapping's keys."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(f"tensor {value.dtype} {list(value.shape)} ".encode())
            # By bytes: NumPy has no bfloat16.
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
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


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `Checkpoints.save` wrote. Raises CheckpointError unless it is whole, to the last bit."""
    content = read_tensors(path)
    if not isinstance(content, dict) or CHECKSUM not in content:
        raise CheckpointError(f"{path} is not a checkpoint of this project")
    if content.pop(CHECKSUM) != checksum(content):
        raise CheckpointError(f"{path} is damaged: its content does not have its checksum")
    return content


class Checkpoints:
    """The last checkpoint of a run folder, and the one before it; with `writes` off `save` does nothing."""

    def __init__(self, run_dir: Path, *, writes: bool = True) -> None:
        self.writes = writes
        self.last = run_dir / "checkpoint.pt"
        self.previous = run_dir / "checkpoint-previous.pt"

    def save(self, state: Mapping[str, Any]) -> None:
        if not self.writes:
            return

        content = {**state, CHECKSUM: checksum(state)}

        def write(temporary: Path) -> None:
            torch.save(content, temporary)
            if self.last.exists():
                self.last.replace(self.previous)

        write_atomically(self.last, write)

    def newest(self) -> Path | None:
        """The checkpoint to go on from; None if there is none. After a crash between the renames of `save`
        there is only the one before."""
        return next((path for path in (self.last, self.previous) if path.exists()), None)

    def load(self) -> dict[str, Any] | None:
        """The content of the newest checkpoint that can be read; None if there is none at all.

        Raises CheckpointError where there are checkpoints and none can be read.
        """
        unreadable = []
        for path in (self.last, self.previous):
            if not path.exists():
                continue
            try:
                content = read_checkpoint(path)
            except CheckpointError as error:
                unreadable.append(error)
                continue
            if unreadable:
                logger.warning("%s; going on from the one before, %s", unreadable[0], path)
            return content
        if unreadable:
            raise unreadable[0]
        return None
