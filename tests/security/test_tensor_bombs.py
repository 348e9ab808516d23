"""Tensor files that expand, or declare large sizes, are refused in one line before memory is allocated."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.security.commands import TAKEN_MB, look_at
from tests.security.hostile import repack, safetensors


def saved(path: Path, content: object, *, new: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=new)
    return path


def packed_weights(path: Path) -> None:
    repack(
        saved(path, {"a": torch.zeros(4)}),
        {"data.pkl": b"\x80\x02X\x00\x00\x00\x0a" + bytes(10 * 2**24)},
        method=zipfile.ZIP_DEFLATED,
    )


def shared_lists(path: Path) -> None:
    """Forty lists, each of which contains the previous one twice."""
    doubling = b"".join(b"]q%c(h%ch%ce" % (n, n - 1, n - 1) for n in range(1, 40))
    repack(saved(path, {"a": torch.zeros(4)}), {"data.pkl": b"\x80\x02]q\x00" + doubling + b"."})


def nested_lists(path: Path) -> None:
    repack(
        saved(path, {"a": torch.zeros(4)}), {"data.pkl": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."}
    )


def expanded(path: Path) -> None:
    saved(path, {"a": torch.zeros(1).expand(2**40)})


def longer_than_its_part(path: Path) -> None:
    """The pickle declares more values of a tensor than the file holds."""
    saved(path, {"a": torch.arange(4.0)})
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        pickled = archive.read(name)
    repack(path, {"data.pkl": pickled.replace(b"K\x04", b"J\x00\x00\x00\x10")})


def without_values(path: Path) -> None:
    saved(path, {"a": torch.empty(10, device="meta")})


def sparse(path: Path) -> None:
    saved(path, {"a": torch.eye(3).to_sparse()})


def old_and_long(path: Path) -> None:
    saved(path, {"a": torch.zeros(2**18)}, new=False)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"J\x00\x00\x04\x00", b"J\x00\x00\x00\x7f")[:10_000])


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        packed_weights,
        shared_lists,
        nested_lists,
        expanded,
        longer_than_its_part,
        without_values,
        sparse,
        old_and_long,
    ],
)
def test_tensor_files_that_expand_are_refused(run_dir: Path, make: Callable[[Path], None]) -> None:
    (run_dir / "weights.safetensors").unlink()
    (run_dir / "checkpoint-previous.pt").unlink(missing_ok=True)
    make(run_dir / "checkpoint.pt")
    done = look_at(run_dir)
    assert "checkpoint.pt can't be read as tensors and plain values" in done.refusal()
    assert done.peak_mb < TAKEN_MB


@pytest.mark.slow
@pytest.mark.parametrize(
    "write",
    [
        lambda path: safetensors(path, b"{}", length=2**63),
        lambda path: safetensors(path, b"{}", length=10**8),
        lambda path: safetensors(path, b"[" * 10**6),
        lambda path: safetensors(
            path, {"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]}}, bytes(4)
        ),
        lambda path: safetensors(
            path, {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, bytes(4)
        ),
        lambda path: safetensors(
            path, {"a": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)
        ),
    ],
)
def test_safetensors_that_declare_too_much_are_refused(
    run_dir: Path, write: Callable[[Path], object]
) -> None:
    write(run_dir / "weights.safetensors")
    done = look_at(run_dir)
    assert "weights.safetensors can't be read as safetensors" in done.refusal()
    assert done.peak_mb < TAKEN_MB
