"""The readers of untrusted files, with valid files as seeds."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tests.fuzz import files
from tests.security.hostile import pickled


class Target(NamedTuple):
    """read: takes the path of a file called `name`; it returns, or raises a UserError or OSError.
    tokens: typical parts of the file format."""

    name: str
    seeds: list[bytes]
    read: Callable[[Path], object]
    tokens: list[bytes]


def of_npz(path: Path) -> object:
    from tenet.data import Arrays

    return Arrays(path=str(path), validation_fraction=0.5).load()


def of_predictions(path: Path) -> object:
    from tenet.evaluation.measures import Predictions
    from tenet.files.arrays import read_arrays

    return read_arrays(path, Predictions._fields)


def of_labels(path: Path) -> object:
    from tenet.corruptions.archive import open_archive
    from tenet.data import ImageArrays

    np.save(path.with_name("fog.npy"), np.zeros((10, 4, 4, 3), np.uint8))
    test = ImageArrays(torch.zeros(2, 4, 4, 3, dtype=torch.uint8), torch.arange(2), ("a", "b"))
    archive = open_archive(path.parent, test=test)
    return [list(archive.cell("fog", severity).batches([torch.arange(2)])) for severity in (1, 5)]


def of_images(path: Path) -> object:
    from tenet.corruptions.archive import OfficialArchive

    np.save(path.with_name("labels.npy"), np.tile(np.arange(2), 5))
    return [OfficialArchive(path.parent).cell("fog", severity).images.copy() for severity in (1, 5)]


def of_videos(path: Path) -> object:
    from tenet.evaluation.suites.perturbations import Perturbations

    return np.array(Perturbations(path.parent).videos["tilt"][:1])


def of_weights(path: Path) -> object:
    from tenet.files.weights import load_weights

    load_weights(files.network(), path)
    return None


def of_checkpoint(path: Path) -> object:
    """Correct the checksum, as an attacker would, so that the checks behind it are tested too."""
    from tenet.files.tensors import read_tensors
    from tenet.files.weights import CHECKSUM, checksum
    from tenet.methods import CrossEntropy
    from tenet.networks import Network
    from tenet.training.checkpoint import Checkpoints
    from tenet.training.state import TrainingState

    content = copy.deepcopy(read_tensors(path))  # views of the file, which is overwritten next
    if isinstance(content, dict) and content.pop(CHECKSUM, None):
        torch.save({**content, CHECKSUM: checksum(content)}, path)
    model = files.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    checkpoints = Checkpoints(path.parent)
    return TrainingState.restore(Network(model), optimizer, CrossEntropy(), checkpoints=checkpoints)


def of_config(path: Path) -> object:
    from tenet.config.build import build
    from tenet.config.run_config import read_config
    from tenet.experiment import Experiment
    from tenet.methods import CrossEntropy

    config = read_config(path.parent)
    _ = Experiment(config).outline
    build(config["tenet"], key="tenet", method=CrossEntropy())
    for key in ("dataset", "augment", "schedule", "trainer", "tracking"):
        build(config[key], key=key)
    return build(config["optimizer"], [torch.zeros(2, 2, requires_grad=True)], key="optimizer")


def of_compared_config(path: Path) -> object:
    from tenet.compare.groups import compare
    from tenet.compare.runs import read_run
    from tenet.compare.terminal import terminal
    from tenet.compare.text import csv_text, latex, markdown

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
    from tenet.compare.terminal import terminal

    (run_dir / "config.yaml").write_bytes(files.config())
    (run_dir / "weights.safetensors").touch()
    return terminal(compare([read_run(run_dir)], metrics=metrics))


def of_metrics(path: Path) -> object:
    from tenet.compare.curves import read_curves
    from tenet.run.metrics_file import MetricsFile, read_metrics

    curves = read_curves(path)
    MetricsFile(path).write({"train/loss": 1.0}, step=9)
    assert read_metrics(path)[-1]["step"] == 9
    return curves


def of_identity(path: Path) -> object:
    from tenet.evaluation.cache import PredictionCache

    cache = PredictionCache(path.parent, identity={"version": "1", "clean": {"a": [1]}})
    cache.close(keep=True)
    return cache.cached


def of_sweep(path: Path) -> object:
    from tenet.search.space import read_space

    space = read_space(path)
    return space.name, space.grid_points if space.method == "grid" else list(space.variants())


def of_study(path: Path) -> object:
    from tenet.search.report import counts, ranked

    study = files.study(path.parent)
    if (held := study.next_trial()) is not None:
        held.log.close()
    return counts(study.trials), ranked(study.trials, goal="minimize"), study.importances()


def of_image(path: Path) -> object:
    from tests.data.trees import read_image

    return [read_image(path), read_image(path, resize=6, crop=4)]


def of_tar(path: Path) -> object:
    from tenet.corruptions.download import unpack

    unpack(path, path.parent / "C", limit_bytes=10_000)
    return None


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
    b"cos\nsystem\n", b"R.", b"h\x00", b"q\x00", b"(", b"]", b"}", b"X\xff\xff\xff\x7f", b"\x8a\x08", b"K\x04",
    b"J\xff\xff\xff\x7f",
]  # fmt: skip
YAML = [
    b"!!python/object/apply:os.system ['true']", b"&a ", b"*a", b"<<: ", b"_target_: ", b"${oc.env:HOME}", b"!!set ",
    b"!!binary ", b"null", b"{", b"- ", b"0x", b"1e999", b"\n  ",
]  # fmt: skip
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
TENSORS = [b'"dtype":"F32"', b'"shape":[', b'"data_offsets":[', b'"F8_E4M3"']
SWEEP = [
    b"+hydra.callbacks.x._target_: ",
    b"min: ",
    b"max: ",
    b"q: ",
    b"values: [",
    b"distribution: q_uniform",
    b"grid",
]
SQL = [
    b"CREATE VIEW trials AS SELECT 1",
    b"RUNNING",
    b"COMPLETE",
    b"WAITING",
    b"INF_POS",
    b"NaN",
    b'{"name": ',
    b"null",
]
PNG = [b"IHDR", b"IDAT", b"IEND", b"iCCP", b"zTXt", b"acTL"]
JPEG = [b"\xff\xd8", b"\xff\xc0", b"\xff\xc4", b"\xff\xda", b"\xff\xe1"]
TAR = [b"ustar", b"../", b"/etc/", b"size=-1\n", b"path=", b"\x80\x00"]


def targets(scratch: Path) -> list[Target]:
    """scratch: the folder where the code of a pickle would create a file named canary."""
    bad = pickled(scratch)
    images, labels = np.zeros((10, 4, 4, 3), np.uint8), np.tile(np.arange(2), 5)
    videos, classes = np.zeros((2, 3, 4, 4, 3), np.uint8), np.array(["a", "b"])
    data = files.data_set(8)
    old = files.saved({"a": torch.ones(2)}, new=False)
    weights = [files.saved(files.network().state_dict()), old, bad, files.saved_by_torch(bad)]
    return [
        Target("own.npz", [files.npz(**data), files.npz(**data, classes=classes)], of_npz, NPY),
        Target("clean.npz", [files.npz(**files.PREDICTIONS)], of_predictions, NPY),
        Target("labels.npy", [files.npy(labels), bad], of_labels, NPY),
        Target("fog.npy", [files.npy(images), bad], of_images, NPY),
        Target("tilt.npy", [files.npy(videos), bad], of_videos, NPY),
        Target("w.pth", weights, of_weights, PICKLE),
        Target("w.safetensors", [files.safetensors()], of_weights, TENSORS),
        Target("checkpoint.pt", [files.checkpoint()], of_checkpoint, PICKLE),
        Target("config.yaml", [files.config()], of_config, YAML),
        Target("config.yaml", [files.config()], of_compared_config, YAML),
        Target("summary.json", [json.dumps(files.SUMMARY).encode()], of_summary, JSON),
        Target("evaluation/corruptions.json", [json.dumps(files.REPORT).encode()], of_report, JSON),
        Target("metrics.jsonl", [files.metrics()], of_metrics, JSON),
        Target("predictions/identity.json", [json.dumps({"version": "1"}).encode()], of_identity, JSON),
        Target("sweep.yaml", [text.encode() for text in files.SWEEPS], of_sweep, [*YAML, *SWEEP]),
        Target("study.db", [files.searched()], of_study, SQL),
        Target(
            "image.png", [files.image(kind) for kind in ("PNG", "BMP", "TIFF", "WEBP", "PPM")], of_image, PNG
        ),
        Target("image.jpg", [files.image("JPEG")], of_image, JPEG),
        Target("C.tar", [files.tar()], of_tar, TAR),
    ]
