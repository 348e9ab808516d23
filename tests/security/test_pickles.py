"""No command runs code from a file that it reads: the canary file is never created."""

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.security.commands import TINY, run
from tests.security.hostile import Payload, object_array, pack, pickled, repack

MODEL = ("backbone=resnet8", "backbone.width=4", "dataset=digits", "corruptions.names=[]")
# Nothing listens at this address, so missing files are not downloaded.
NO_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")


def new_format(folder: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": {"weight": Payload(folder)}}, buffer)
    return buffer.getvalue()


def old_format(folder: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": Payload(folder)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def torchscript(folder: Path) -> bytes:
    path = folder / "script.zip"
    pack(
        path,
        {"script/constants.pkl": pickled(folder), "script/data.pkl": pickled(folder), "script/version": b"3"},
    )
    return path.read_bytes()


def tar_of_old_torch(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("pickle", "storages", "tensors", "sys_info"):
            member = tarfile.TarInfo(name)
            member.size = len(pickled(folder))
            tar.addfile(member, io.BytesIO(pickled(folder)))
    return buffer.getvalue()


FORMATS = [new_format, old_format, torchscript, tar_of_old_torch, pickled]


def test_the_payload_is_live(tmp_path: Path, canary: Callable[[], bool]) -> None:
    torch.load(io.BytesIO(new_format(tmp_path)), weights_only=False)
    assert canary()


@pytest.mark.slow
@pytest.mark.parametrize("content", FORMATS)
def test_an_evaluation_does_not_run_code_in_weights(
    tmp_path: Path, canary: Callable[[], bool], content: Callable[[Path], bytes]
) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content(tmp_path))
    assert (
        "can't be read as tensors and plain values"
        in run("evaluate.py", f"weights={path}", *MODEL, cwd=tmp_path).refusal()
    )
    assert not canary()


@pytest.mark.parametrize("content", [new_format, old_format])
def test_no_command_runs_code_in_a_checkpoint(
    run_dir: Path, tmp_path: Path, canary: Callable[[], bool], content: Callable[[Path], bytes]
) -> None:
    (run_dir / "weights.safetensors").unlink()
    for name in ("checkpoint.pt", "checkpoint-previous.pt"):
        (run_dir / name).write_bytes(content(tmp_path))
    for words in (
        ["train.py", f"resume={run_dir}"],
        ["evaluate.py", f"run={run_dir}", "corruptions.names=[]"],
        ["-m", "tenet.xray", run_dir],
    ):
        assert "can't be read as tensors and plain values" in run(*words, cwd=tmp_path).refusal()
    assert run("-m", "tenet.compare", run_dir, cwd=tmp_path).refusal().startswith("no finished run")
    assert not canary()


@pytest.mark.slow
@pytest.mark.parametrize("key", ["train_images", "train_labels", "classes"])
def test_object_arrays_of_a_data_file_are_not_loaded(
    tmp_path: Path, canary: Callable[[], bool], key: str
) -> None:
    images, labels = np.zeros((10, 8, 8, 3), np.uint8), np.arange(10)
    arrays: dict[str, Any] = {
        "train_images": images,
        "train_labels": labels,
        "test_images": images,
        "test_labels": labels,
    }
    np.savez(tmp_path / "own.npz", **{**arrays, key: object_array(tmp_path)})
    done = run(
        "train.py",
        *TINY,
        "dataset=arrays",
        f"dataset.path={tmp_path / 'own.npz'}",
        "dataset.fraction=1.0",
        cwd=tmp_path,
    )
    assert "it holds Python objects, which are never loaded" in done.refusal()
    assert not canary()


def test_a_pickle_in_place_of_a_data_file_is_not_loaded(tmp_path: Path, canary: Callable[[], bool]) -> None:
    (tmp_path / "own.npz").write_bytes(pickled(tmp_path))
    done = run("train.py", *TINY, "dataset=arrays", f"dataset.path={tmp_path / 'own.npz'}", cwd=tmp_path)
    assert "can't be read as a NumPy .npz file" in done.refusal()
    assert not canary()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["labels", "fog"])
@pytest.mark.parametrize("kind", ["objects", "pickle", "npz"])
def test_official_files_are_not_unpickled(
    run_dir: Path, tmp_path: Path, canary: Callable[[], bool], kind: str, place: str
) -> None:
    archive = tmp_path / "c"
    archive.mkdir()
    np.save(archive / "labels.npy", np.zeros(1800, np.uint8))
    np.save(archive / "fog.npy", np.zeros((1800, 32, 32, 3), np.uint8))
    path = archive / f"{place}.npy"
    if kind == "objects":
        np.save(path, object_array(tmp_path), allow_pickle=True)
    elif kind == "pickle":
        path.write_bytes(pickled(tmp_path))
    else:
        with path.open("wb") as file:
            np.savez(file, object_array(tmp_path))
    done = run("evaluate.py", f"run={run_dir}", f"corruptions.root={archive}", cwd=tmp_path)
    assert f"{path} is not a whole plain .npy file" in done.refusal()
    assert not canary()


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("cifar101", ["cifar10.1_v6_data.npy", "cifar10.1_v6_labels.npy"]),
        ("cifar_p", ["tilt.npy"]),
    ],
)
def test_other_test_sets_are_not_unpickled(
    run_dir: Path, tmp_path: Path, canary: Callable[[], bool], key: str, names: list[str]
) -> None:
    for name in names:
        np.save(tmp_path / name, object_array(tmp_path), allow_pickle=True)
    done = run("evaluate.py", f"run={run_dir}", f"{key}={tmp_path}", "corruptions.names=[]", cwd=tmp_path)
    assert "is not a whole plain .npy file" in done.refusal()
    assert not canary()


def test_the_writer_of_archives_unpickles_nothing(tmp_path: Path, canary: Callable[[], bool]) -> None:
    (tmp_path / "own.npz").write_bytes(pickled(tmp_path))
    done = run("-m", "tenet.corruptions", "./c", "dataset=arrays", "dataset.path=own.npz", cwd=tmp_path)
    assert "can't be read as a NumPy .npz file" in done.refusal()
    assert not canary()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_files_other_than_the_published_ones_are_not_unpickled(
    tmp_path: Path, canary: Callable[[], bool], name: str
) -> None:
    from torchvision import datasets

    source = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    folder = tmp_path / source.base_folder
    folder.mkdir()
    for file, _ in (*source.train_list, *source.test_list, (source.meta["filename"], "")):
        (folder / file).write_bytes(pickled(tmp_path))
    with tarfile.open(tmp_path / source.filename, "w:gz") as tar:
        tar.add(folder, source.base_folder)
    words = ["train.py", *TINY, f"dataset={name}", f"dataset.root={tmp_path}"]
    done = run(*words, cwd=tmp_path, environment=NO_NETWORK)
    assert "could not be downloaded" in done.refusal()
    assert not canary()


def test_predictions_of_an_interrupted_sweep_are_not_unpickled(
    run_dir: Path, tmp_path: Path, canary: Callable[[], bool]
) -> None:
    words = ["evaluate.py", f"run={run_dir}", "corruptions.names=[]", "save_predictions=true"]
    assert run(*words, cwd=tmp_path).code == 0
    (cell,) = run_dir.glob("evaluation/*-predictions/clean.npz")
    right = cell.read_bytes()
    buffer = io.BytesIO()
    np.save(buffer, object_array(tmp_path), allow_pickle=True)
    repack(cell, {"predicted.npy": buffer.getvalue()})
    assert run(*words, cwd=tmp_path).code == 0
    assert cell.read_bytes() == right, "it was not measured again"
    assert not canary()


def test_a_hydra_pickle_is_refused(tmp_path: Path, canary: Callable[[], bool]) -> None:
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(Payload(tmp_path)))
    done = run("train.py", "--experimental-rerun", tmp_path / "config.pickle", cwd=tmp_path)
    assert done.refusal().startswith("--experimental-rerun: not supported")
    assert not canary()
