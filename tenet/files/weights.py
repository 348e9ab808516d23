"""Model weights as files: state dicts are read without running pickled code and written as safetensors."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tenet.errors import CheckpointError
from tenet.files.atomic import write_atomically
from tenet.files.interface import Interface
from tenet.files.state_dicts import find_normalization, find_state_dict, flatten_tensors
from tenet.files.tensors import read_safetensors, read_tensors

logger = logging.getLogger("tenet")

# The files that torch.save writes go by many names; .pth.tar is not a tar archive.
SUFFIXES = (".pth", ".pt", ".tar", ".ckpt", ".bin", ".pkl", ".th", ".safetensors")
# The key of the checksum: in a checkpoint, of all its other content; in safetensors metadata, of weights and interface.
CHECKSUM = "sha256"
# The key of the network's interface, in checkpoints and, as JSON, in safetensors metadata.
INTERFACE = "network"
# The key, within the interface, of how the network is built.
MODEL = "model"


class SavedWeights(NamedTuple):
    """The tensors of a file by name, and what it says of the network; interface: None if it says nothing.

    normalization: the names of the tensors that the interface comes from, if it comes from tensors.
    model: how the network is built (see `ModelDescription`), as it stands in the file; None if it says nothing.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    interface: Interface | None = None
    normalization: frozenset[str] = frozenset()
    model: object = None


def load_weights(model: nn.Module, source: str | Path | SavedWeights, *, key: str | None = None) -> None:
    """Load weights into `model` from a file that holds a state dict or a checkpoint (see `SUFFIXES`).

    The weights may be nested under keys (`state_dict`, `net`, ...) and their names may have any prefix (`module.`,
    `model.`, ...). key: where they are, such as `model_ema`. Pickled code never runs.
    Raises CheckpointError, which names the file and its missing, unexpected and misshapen keys, or several weights
    that could be meant; the model is then unchanged.
    """
    saved = source if isinstance(source, SavedWeights) else read_weights(Path(source))
    model.load_state_dict(
        find_state_dict(model, saved.tensors, path=saved.path, key=key, known=saved.normalization)
    )


def read_weights(path: Path) -> SavedWeights:
    """Read the tensors of a file and, if it holds them, normalisation and class names of its network.

    Raises CheckpointError if the file can't be read, does not match its checksum or holds no tensors by name.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise CheckpointError(
            f"{path}: weights are read from {', '.join(SUFFIXES[:-1])} and {SUFFIXES[-1]} files; rename it if torch.save "
            "or safetensors wrote it"
        )
    if path.suffix.lower() == ".safetensors":
        content, interface = _read_safetensors(path)
    else:
        content = read_tensors(path, bookkeeping=True)
        interface = content.get(INTERFACE) if isinstance(content, dict) and CHECKSUM in content else None
        if interface is not None and content.pop(CHECKSUM) != checksum(content):
            raise CheckpointError(f"{path} is damaged: its content does not match its checksum")
    tensors = flatten_tensors(content, path=path)
    if not tensors:
        raise CheckpointError(
            f"{path} holds no state dict: names and tensors, at the top level or under a key"
        )
    try:
        if interface is not None:
            known = Interface.from_plain(interface)
            description = interface.get(MODEL) if isinstance(interface, Mapping) else None
            return SavedWeights(path, tensors, known, model=description)
        if found := find_normalization(tensors):
            logger.info(
                "%s: %s are the normalisation: mean=%s std=%s",
                path, " and ".join(sorted(found[1])), list(found[0].mean), list(found[0].std),
            )  # fmt: skip
            return SavedWeights(path, tensors, found[0], frozenset(found[1]))
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return SavedWeights(path, tensors)


def _read_safetensors(path: Path) -> tuple[Mapping[str, Tensor], object]:
    content, metadata = read_safetensors(path)
    # Files of other programs have no checksum in their metadata, and those of older versions no interface.
    text = metadata.get(INTERFACE) if CHECKSUM in metadata else None
    expected = checksum(content) if text is None else checksum([content, text])
    if metadata.get(CHECKSUM, expected) != expected:
        raise CheckpointError(
            f"{path} is damaged: its content does not match its checksum; get another copy "
            "(python train.py resume=RUN_DIR writes it again from a run's checkpoint)"
        )
    try:
        return content, None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata is not JSON") from error


def save_weights(
    model: nn.Module,
    path: Path,
    *,
    interface: Mapping[str, Any] | None = None,
    description: Mapping[str, Any] | None = None,
) -> None:
    """Write the model's state dict as safetensors, with the `interface` of its `Network` and a checksum of both.

    description: how the network is built, as plain values, so that the file can be loaded alone (`tenet.load`).
    """
    from safetensors.torch import save

    # Copies, because safetensors refuses tensors that share memory: weights that two layers share.
    weights = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    if interface is None:
        metadata = {CHECKSUM: checksum(weights)}
    else:
        text = json.dumps(interface if description is None else {**interface, MODEL: description})
        metadata = {INTERFACE: text, CHECKSUM: checksum([weights, text])}
    content = _sort_metadata(save(weights, metadata=metadata))
    # Not save_file: it ignores the umask and makes files readable by their owner only.
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def _sort_metadata(content: bytes) -> bytes:
    """The same safetensors file with its metadata in alphabetical order: the library writes them in a random one.

    Layout: the header's length in 8 bytes, the header as JSON padded with spaces to a multiple of 8 bytes, the tensors.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def holds_weights(path: Path, model: nn.Module) -> bool:
    """Whether the weights in the file are identical to the model's; False if the file can't be read."""
    try:
        return checksum(read_weights(path).tensors) == checksum(model.state_dict())
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
