"""A network for programs that don't have this package: ONNX and torch.export, both compared with the network itself."""

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tenet.errors import ConfigError
from tenet.networks import Network
from tenet.randomness import make_generator

if TYPE_CHECKING:
    from torch.export import ExportedProgram

PROGRAM_FILE, ONNX_FILE = "model.pt2", "model.onnx"
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
CHECKED_IMAGES = 100
# Relative to the largest logit: libraries sum float32 numbers in different orders.
TOLERANCE = 1e-4

Classify = Callable[[Float[Tensor, "batch 3 h w"]], Float[Tensor, "batch class"]]


def check_onnx_is_installed() -> None:
    if missing := [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]:
        raise ConfigError(
            f"{ONNX_FILE} needs {', '.join(missing)}: pip install 'tenet-training[publish]', or add --no-onnx"
        )


def export(network: Network, folder: Path, *, onnx: bool) -> dict[str, str]:
    """Write `model.pt2` and, if `onnx`, `model.onnx`. Both include the normalisation and take any number of images.

    Returns file -> a text that says how far its logits are from the network's. Raises ConfigError if a library can't
    export the network, or if the logits of 100 random images differ by more than TOLERANCE.
    """
    height, width = network.interface["image_size"]
    generator = make_generator("cpu", seed=0, purpose="export")
    images = torch.rand(CHECKED_IMAGES, 3, height, width, generator=generator)
    with torch.no_grad():
        expected = network(images)
        with _explain(PROGRAM_FILE):
            batch = {0: torch.export.Dim("batch", min=1)}
            program = torch.export.export(network, (images[:2],), dynamic_shapes=(batch,))
            found = {PROGRAM_FILE: _write_program(program, network, folder / PROGRAM_FILE)}
        if onnx:
            with _explain(ONNX_FILE):
                found[ONNX_FILE] = _write_onnx(program, network, folder / ONNX_FILE)
        return {name: _compare(classify, images, expected, name=name) for name, classify in found.items()}


def _write_program(program: "ExportedProgram", network: Network, path: Path) -> Classify:
    """Write the program, and read it back as its users will."""
    torch.export.save(program, path, extra_files={"classes.json": json.dumps(network.interface["classes"])})
    return torch.export.load(path).module()


def _write_onnx(program: "ExportedProgram", network: Network, path: Path) -> Classify:
    import onnxruntime

    written = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=["images"], output_names=["logits"]
    )
    assert written is not None
    written.model.metadata_props["classes"] = json.dumps(network.interface["classes"])
    written.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(np.asarray(session.run(["logits"], {"images": images.numpy()})[0]))


def _compare(
    classify: Classify,
    images: Float[Tensor, "image 3 h w"],
    expected: Float[Tensor, "image class"],
    *,
    name: str,
) -> str:
    """Compare one image alone, then all others at once: an export for a fixed number of images would fail."""
    logits = torch.cat([classify(images[:1]), classify(images[1:])])
    difference, largest = (logits - expected).abs().max().item(), expected.abs().max().item()
    if not difference <= TOLERANCE * largest:
        raise ConfigError(
            f"{name}: its logits differ from torch's by up to {difference:.2g}, more than {TOLERANCE:g} of the largest "
            f"({largest:.3g}); add --no-{'onnx' if name == ONNX_FILE else 'export'}"
        )
    return (
        f"logits of {len(images)} random images differ from PyTorch's by at most {difference:.1e} (tolerance: "
        f"{TOLERANCE:g} of the largest, {largest:.3g})"
    )


@contextmanager
def _explain(name: str) -> Iterator[None]:
    """Silence the libraries' warnings, and turn their exceptions into an error of one line."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # torch.export and ONNX fail on what they don't know with errors of many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        option = "--no-onnx" if name == ONNX_FILE else "--no-export"
        raise ConfigError(f"{name}: the network can't be exported ({reason}); add {option}") from error
    finally:
        logging.disable(level)
