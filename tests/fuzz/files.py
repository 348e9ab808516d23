"""Small valid files of every type that a reader accepts, as bytes."""

import io
import json
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

SUMMARY = {"test/error_pct": 3.5, "train/loss": 0.1, "corruption/mce_pct": 9.0}
REPORT = {
    "mce_pct": 9.0,
    "source": "files",
    "clean": {"error_pct": 3.0},
    "corruptions": {"fog": {"1": 3.0, "2": 4.0}},
}
METRICS = ({"step": 1, "epoch": 0.5, "train/loss": 1.9}, {"step": 2, "epoch": 1.0, "test/error_pct": None})
PREDICTIONS = {
    "predicted": np.zeros(3, np.int64),
    "labels": np.zeros(3, np.int64),
    "confidence": np.ones(3, np.float32),
    "nll": np.ones(3, np.float32),
    "brier": np.ones(3, np.float32),
}


def network() -> torch.nn.Module:
    from tenet.networks import ResNet

    return ResNet(num_classes=2, depth=8, width=1)


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def data_set(count: int) -> dict[str, np.ndarray]:
    images, labels = np.arange(count * 48).astype(np.uint8).reshape(count, 4, 4, 3), np.arange(count) % 2
    return {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}


def saved(content: object, *, new: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def saved_by_torch(pickled: bytes) -> bytes:
    """Return a minimal file that torch recognises as its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3")
    return buffer.getvalue()


def safetensors() -> bytes:
    from safetensors.torch import save

    return save(dict(network().state_dict()))


@cache
def checkpoint() -> bytes:
    from tenet.files.weights import CHECKSUM, checksum

    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "metrics": {"train/loss": 1.0}}
    counts = dict.fromkeys(("step", "closed_step", "nonfinite_steps"), 3)
    content = {**state, "means": {"loss": [1.0, 3.0]}, "counters": {}, "layout": 2, **counts}
    return saved({**content, CHECKSUM: checksum(content)})


@cache
def config() -> bytes:
    from tests.config.test_build import composed

    return yaml.safe_dump(composed("experiment=quickstart", "backbone.width=4")).encode()


def image(kind: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.arange(8 * 8 * 3).astype(np.uint8).reshape(8, 8, 3)).save(buffer, kind)
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("C/labels.npy", f"C/{'fog' * 60}.npy"):
            member = tarfile.TarInfo(name)
            member.size = 600
            archive.addfile(member, io.BytesIO(bytes(600)))
    return buffer.getvalue()


def metrics() -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in METRICS)


SWEEPS = (
    """\
method: grid
metric: {name: validation/error_pct}
command: ["${env}", "${program}", "trainer.precision=bf16", "${args_no_hyphens}"]
parameters:
  tenet.groups: {values: [2, 4]}
  tenet.weight: {distribution: q_uniform, min: 0.5, max: 2.0, q: 0.5}
  seed: {value: 1}
""",
    """\
method: bayes
run_cap: 4
metric: {name: validation/error_pct, goal: minimize}
parameters:
  tenet.groups: {min: 2, max: 4}
  tenet.weight: {distribution: log_uniform_values, min: 0.01, max: 1.0}
  tenet.layer: {values: [stem, null, true]}
""",
)


def study(folder: Path) -> Any:
    """The study of the second sweep, in `study.db`. The sweep lies elsewhere: the folder may hold hostile files."""
    from tenet.search.space import read_space
    from tenet.search.study import Study

    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "space.yaml")
        path.write_text(SWEEPS[1])
        space = read_space(path)
    return Study(space, storage=folder / "study.db", total=4, pruner="median", evaluations=3)


@cache
def searched() -> bytes:
    """A storage with a complete and a running trial."""
    with tempfile.TemporaryDirectory() as place:
        one = study(Path(place))
        for is_complete in (True, False):
            held = one.next_trial()
            held.trial.report(3.0, 1)
            if is_complete:
                one.tell(held.trial, state="COMPLETE", value=1.0)
            held.log.close()
        return Path(place, "study.db").read_bytes()
