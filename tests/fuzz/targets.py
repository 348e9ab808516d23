"""The readers of files that may come from anyone, with small good files to start from."""

import copy
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml

from tests.security.hostile import pickled

CLASSES = np.array(["a", "b"])


class Target(NamedTuple):
    """read: takes the path of a file called `name`; it returns, or raises a UserError or OSError.
    tokens: what its format is made of."""

    name: str
    seeds: list[bytes]
    read: Callable[[Path], object]
    tokens: list[bytes]


def of_npz(path: Path) -> object:
    from tenet.data import Arrays

    return Arrays(path=str(path), validation_fraction=0.5).load()


def of_predictions(path: Path) -> object:
    from tenet.array_files import read_arrays
    from tenet.predictions import Predictions

    return read_arrays(path, Predictions._fields)


def of_labels(path: Path) -> object:
    from tenet.corruptions.sources import ArchivedCorruptions

    np.save(path.with_name("fog.npy"), np.zeros((10, 4, 4, 3), np.uint8))
    source = ArchivedCorruptions(path.parent, classes=("a", "b"))
    return [list(source.batches("fog", severity, batch_size=1)) for severity in (1, 5)]


def of_images(path: Path) -> object:
    from tenet.corruptions.archive import OfficialArchive

    np.save(path.with_name("labels.npy"), np.tile(np.arange(2), 5))
    return [OfficialArchive(path.parent).cell("fog", severity)[0].copy() for severity in (1, 5)]


def of_videos(path: Path) -> object:
    from tenet.corruptions.perturbations import PerturbationArchive

    return np.array(PerturbationArchive(path.parent).sequences("tilt")[:1])


def of_weights(path: Path) -> object:
    from tenet.checkpoint import load_weights

    load_weights(network(), path)
    return None


def of_checkpoint(path: Path) -> object:
    """With its checksum set right, as an attacker would: what is behind it must hold too."""
    from tenet.checkpoint import CHECKSUM, Checkpoints, checksum
    from tenet.tensor_files import read_tensors
    from tenet.training_state import TrainingState

    content = copy.deepcopy(read_tensors(path))  # they are views of the file that is written next
    if isinstance(content, dict) and content.pop(CHECKSUM, None):
        torch.save({**content, CHECKSUM: checksum(content)}, path)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return TrainingState.restore(model, optimizer, Checkpoints(path.parent))


def of_config(path: Path) -> object:
    from tenet.config import build, read_config
    from tenet.network import build_network

    config = read_config(path.parent)
    build_network(config["backbone"], num_classes=2)
    for key in ("dataset", "tenet", "augment", "schedule", "trainer", "tracking"):
        build(config[key], key=key)
    return build(config["optimizer"], [torch.zeros(2, 2, requires_grad=True)], key="optimizer")


def of_compared_config(path: Path) -> object:
    from tenet.compare.groups import compare
    from tenet.compare.runs import read_run
    from tenet.compare.text import csv_text, latex, markdown, terminal

    (path.parent / "weights.safetensors").touch()
    comparison = compare([read_run(path.parent)])
    return [write(comparison) for write in (terminal, markdown, latex, csv_text)]


def of_summary(path: Path) -> object:
    return compared(path.parent, metrics=["train/loss"])


def of_report(path: Path) -> object:
    return compared(path.parent.parent)


def compared(run_dir: Path, *, metrics: Sequence[str] = ()) -> object:
    from tenet.compare.groups import compare
    from tenet.compare.runs import read_run
    from tenet.compare.text import terminal

    (run_dir / "config.yaml").write_bytes(config())
    (run_dir / "weights.safetensors").touch()
    return terminal(compare([read_run(run_dir)], metrics=metrics))


def of_metrics(path: Path) -> object:
    from tenet.compare.curves import read_curves
    from tenet.metrics_file import MetricsFile, read_metrics

    curves = read_curves(path)
    MetricsFile(path).write({"train/loss": 1.0}, step=9)
    assert read_metrics(path)[-1]["step"] == 9
    return curves


def of_image(path: Path) -> object:
    from tenet.corruptions.folders import read_image

    return [read_image(path), read_image(path, resize=6, crop=4)]


def of_tar(path: Path) -> object:
    from tenet.corruptions.unpacking import unpack

    unpack(path, path.parent / "C", limit_bytes=10_000)
    return None


# What each kind of file is made of.


def network() -> torch.nn.Module:
    from tenet.backbones import ResNet

    return ResNet(num_classes=2, depth=8, width=1)


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def split(count: int) -> dict[str, np.ndarray]:
    images, labels = np.arange(count * 48).astype(np.uint8).reshape(count, 4, 4, 3), np.arange(count) % 2
    return {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}


def saved(content: object, *, new: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def safetensors() -> bytes:
    from safetensors.torch import save

    return save(dict(network().state_dict()))


@cache
def checkpoint() -> bytes:
    from tenet.checkpoint import CHECKSUM, checksum
    from tenet.training_state import COUNTERS

    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "metrics": {"train/loss": 1.0}}
    content = {**state, "window": torch.zeros(9, dtype=torch.float64), **dict.fromkeys(COUNTERS, 3)}
    return saved({**content, CHECKSUM: checksum(content)})


@cache
def config() -> bytes:
    from tests.test_config import composed

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


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


NPY = [
    b"\x93NUMPY\x01\x00",
    b"'descr': '|O'",
    b"'shape': (",
    b"'fortran_order': True",
    b"<i8",
    b"|u1",
    b"<U0",
    b"-1,",
]
PICKLE = [
    b"cos\nsystem\n",
    b"R.",
    b"h\x00",
    b"q\x00",
    b"(",
    b"]",
    b"}",
    b"X\xff\xff\xff\x7f",
    b"\x8a\x08",
    b"K\x04",
    b"J\xff\xff\xff\x7f",
]
YAML = [
    b"!!python/object/apply:os.system ['true']",
    b"&a ",
    b"*a",
    b"<<: ",
    b"_target_: ",
    b"${oc.env:HOME}",
    b"!!set ",
    b"!!binary ",
    b"null",
    b"{",
    b"- ",
    b"0x",
    b"1e999",
    b"\n  ",
]
JSON = [
    b'"step": ',
    b"NaN",
    b"1e999",
    b"null",
    b"[[[[",
    b'{"',
    b'"mce_pct": ',
    b'"corruptions": ',
    b"\\ud800",
]
PREDICTIONS = {
    "predicted": np.zeros(3, np.int64),
    "labels": np.zeros(3, np.int64),
    "confidence": np.ones(3, np.float32),
    "nll": np.ones(3, np.float32),
}
SUMMARY = {"test/error_pct": 3.5, "train/loss": 0.1, "corruption/mce_pct": 9.0, "corruption/source": "files"}
REPORT = {
    "mce_pct": 9.0,
    "source": "files",
    "clean": {"error_pct": 3.0},
    "corruptions": {"fog": {"1": 3.0, "2": 4.0}},
}
METRICS = lines(
    {"step": 1, "epoch": 0.5, "train/loss": 1.9}, {"step": 2, "epoch": 1.0, "test/error_pct": None}
)


def targets(scratch: Path) -> list[Target]:
    """scratch: where a pickle's code would leave a file named canary."""
    bad = pickled(scratch)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", bad)
        archive.writestr("archive/version", "3")
    images = np.zeros((10, 4, 4, 3), np.uint8)
    return [
        Target("own.npz", [npz(**split(8)), npz(**split(8), classes=CLASSES)], of_npz, NPY),
        Target("clean.npz", [npz(**PREDICTIONS)], of_predictions, NPY),
        Target("labels.npy", [npy(np.tile(np.arange(2), 5)), bad], of_labels, NPY),
        Target("fog.npy", [npy(images), bad], of_images, NPY),
        Target("tilt.npy", [npy(np.zeros((2, 3, 4, 4, 3), np.uint8)), bad], of_videos, NPY),
        Target(
            "w.pth",
            [saved(network().state_dict()), saved({"a": torch.ones(2)}, new=False), bad, buffer.getvalue()],
            of_weights,
            PICKLE,
        ),
        Target(
            "w.safetensors",
            [safetensors()],
            of_weights,
            [b'"dtype":"F32"', b'"shape":[', b'"data_offsets":[', b'"F8_E4M3"'],
        ),
        Target("checkpoint.pt", [checkpoint()], of_checkpoint, PICKLE),
        Target("config.yaml", [config()], of_config, YAML),
        Target("config.yaml", [config()], of_compared_config, YAML),
        Target("summary.json", [json.dumps(SUMMARY).encode()], of_summary, JSON),
        Target(
            "evaluation/corruptions.json",
            [json.dumps(REPORT).encode()],
            of_report,
            JSON,
        ),
        Target("metrics.jsonl", [METRICS], of_metrics, JSON),
        Target("image.png", [image("PNG")], of_image, [b"IHDR", b"IDAT", b"IEND", b"iCCP", b"zTXt", b"acTL"]),
        Target(
            "image.jpg",
            [image("JPEG")],
            of_image,
            [b"\xff\xd8", b"\xff\xc0", b"\xff\xc4", b"\xff\xda", b"\xff\xe1"],
        ),
        Target(
            "C.tar",
            [tar()],
            of_tar,
            [b"ustar", b"../", b"/etc/", b"size=-1\n", b"path=", b"\x80\x00"],
        ),
    ]
