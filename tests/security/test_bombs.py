"""Arrays, images and text files that expand, or declare large sizes, are refused in one line before memory is allocated."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.security.commands import SPARE_MB, TAKEN_MB, look_at, run
from tests.security.hostile import pack, save_npy

MEGABYTE = 2**20


def npy(shape: tuple[int, ...], dtype: str = "|u1", data: bytes = b"") -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    return header.getvalue() + data


IMAGES, LABELS = npy((10, 8, 8, 3), data=bytes(1920)), npy((10,), "<i8", np.arange(10).tobytes())
ARRAYS = {"train_images": IMAGES, "train_labels": LABELS, "test_images": IMAGES, "test_labels": LABELS}
WHOLE = {f"{name}.npy": content for name, content in ARRAYS.items()}


def grown(path: Path) -> None:
    """80 MB of zeros, compressed to 80 kB."""
    pack(path, {**WHOLE, "train_images.npy": npy((27_307, 32, 32, 3), data=bytes(27_307 * 3072))})


def claimed(path: Path) -> None:
    pack(path, {**WHOLE, "train_images.npy": npy((10**8, 32, 32, 3), data=bytes(100))})


def claimed_by_the_archive(path: Path) -> None:
    """The archive's directory also declares 100 GB."""
    pack(
        path,
        {**WHOLE, "train_images.npy": npy((10**8, 10, 10, 10), data=bytes(100))},
        method=zipfile.ZIP_STORED,
    )
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = b"\xf0\xff\xff\xff" * 2
    path.write_bytes(content)


def empty_items(path: Path) -> None:
    pack(path, {**WHOLE, "classes.npy": npy((10**12,), "<U0")})


def overflowing(path: Path) -> None:
    pack(path, {**WHOLE, "train_labels.npy": npy((2**62, 2**62), "<i8")})


def negative(path: Path) -> None:
    pack(path, {**WHOLE, "train_images.npy": IMAGES.replace(b"(10, 8, 8, 3)", b"(-1, 8, 8, 3)")})


def packed_otherwise(path: Path) -> None:
    pack(path, {**WHOLE, "train_images.npy": npy((10**7,), data=bytes(10**7))}, method=zipfile.ZIP_LZMA)


def a_header_without_end(path: Path) -> None:
    pack(path, {**WHOLE, "train_images.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b"(" * 10**6})


def nothing_to_see(path: Path) -> None:
    pack(path, {**WHOLE, "train_images.npy": npy((10, 0, 8, 3)), "test_images.npy": npy((10, 0, 8, 3))})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (grown, "more than 100 times"),
        (claimed, "does not match its header"),
        (claimed_by_the_archive, "more than 100 times"),
        (empty_items, "does not match its header"),
        (overflowing, "does not match its header"),
        (negative, "can't be read"),
        (packed_otherwise, "compression method that NumPy does not write"),
        (a_header_without_end, "can't be read"),
        (nothing_to_see, "have no pixels"),
    ],
)
def test_data_files_that_expand_are_refused(run_dir: Path, make: Callable[[Path], None], reason: str) -> None:
    path = run_dir / "own.npz"
    make(path)
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config["dataset"] = {"_target_": "tenet.data.Arrays", "path": str(path)}
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    done = look_at(run_dir)
    assert reason in done.refusal()
    assert done.peak_mb < TAKEN_MB


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("labels", (10**11,), "|u1"),
        ("labels", (2**62, 2**62), "<i8"),
        ("fog", (10**8, 32, 32, 3), "|u1"),
        ("fog", (0, 32, 32, 3), "|u1"),
    ],
)
def test_official_files_that_declare_too_much_are_refused(
    run_dir: Path, tmp_path: Path, name: str, shape: tuple[int, ...], dtype: str
) -> None:
    np.save(tmp_path / "labels.npy", np.zeros(5, np.uint8))
    np.save(tmp_path / "fog.npy", np.zeros((5, 32, 32, 3), np.uint8))
    path = save_npy(tmp_path / f"{name}.npy", shape=shape, dtype=dtype, data=bytes(10))
    done = run(
        "evaluate.py", f"run={run_dir}", f"corruptions.root={tmp_path}", cwd=tmp_path, spare_mb=SPARE_MB
    )
    assert str(path) in done.refusal()
    assert done.peak_mb < TAKEN_MB


def test_a_long_labels_file_is_not_copied(run_dir: Path, tmp_path: Path) -> None:
    """The labels file is sparse: it takes hardly any space on the disk."""
    np.save(tmp_path / "fog.npy", np.zeros((5, 32, 32, 3), np.uint8))
    with save_npy(tmp_path / "labels.npy", shape=(10**9,)).open("ab") as file:
        file.truncate(10**9 + 128)
    words = ["evaluate.py", f"run={run_dir}", f"corruptions.root={tmp_path}"]
    done = run(*words, cwd=tmp_path, spare_mb=SPARE_MB + 1000)
    assert "labels.npy has 1,000,000,000 values" in done.refusal()
    assert done.peak_mb < TAKEN_MB


def png(size: tuple[int, int]) -> bytes:
    """Return the first rows of an image of this size; a small image is complete."""
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0),
        b"IDAT": zlib.compress(bytes(1 + size[0]) * min(size[1], 100)),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )


def write_classes(folder: Path, first: tuple[int, int], others: tuple[int, int]) -> None:
    for label in range(10):
        path = folder / str(label) / "image.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(png(others if label else first))


AS_THEY_ARE = ("dataset.resize=null", "dataset.crop=null")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "others", "settings", "reason"),
    [
        ((9000, 9000), (9000, 9000), (), "has 9000 x 9000 pixels, more than"),
        ((1, 60_000), (1, 60_000), ("dataset.resize=256",), "is to become 256 x 15360000 pixels, more than"),
        ((32, 32), (4000, 4000), AS_THEY_ARE, "has 4000 x 4000 pixels, not 32 x 32 as the others"),
        ((16, 16), (16, 16), ("dataset.resize=null", "dataset.crop=8192"), "8192 pixels can't be cut out"),
    ],
)
def test_images_that_expand_are_refused(
    run_dir: Path,
    tmp_path: Path,
    first: tuple[int, int],
    others: tuple[int, int],
    settings: tuple[str, ...],
    reason: str,
) -> None:
    write_classes(tmp_path / "clean", first, others)
    for severity in "12345":
        write_classes(tmp_path / "c" / "fog" / severity, first, first)
    done = run(
        "evaluate.py", f"weights={run_dir / 'weights.safetensors'}", "backbone=resnet8", "backbone.width=4",
        "dataset=folder", "dataset.path=clean", *settings, "corruptions.names=[]", "corruptions.root=c",
        cwd=tmp_path, spare_mb=SPARE_MB + 800,
    )  # fmt: skip
    assert reason in done.refusal()
    assert done.peak_mb < TAKEN_MB


@pytest.mark.slow
@pytest.mark.parametrize("line", ["a line of 200 MB", "a deep line", "a long number"])
def test_metrics_that_expand_are_skipped(run_dir: Path, tmp_path: Path, line: str) -> None:
    with (run_dir / "metrics.jsonl").open("r+b") as file:
        file.seek(0, io.SEEK_END)
        if line == "a line of 200 MB":
            file.write(b'{"step": 1, "x": "')
            file.seek(200 * MEGABYTE, io.SEEK_CUR)
            file.write(b'"}\n')
        elif line == "a deep line":
            file.write(b'{"step": 1, "x": ' + b"[" * 10**6 + b"\n")
        else:
            file.write(b'{"step": 1' + b"0" * 10**5 + b', "train/loss": 1' + b"0" * 4000 + b"}\n")
    for words in (["train.py", "resume=run"], ["-m", "tenet.compare", "run", "--output", "page.html"]):
        done = run(*words, cwd=tmp_path, spare_mb=SPARE_MB)
        assert done.code == 0, done.output
        assert done.peak_mb < TAKEN_MB + 100  # for the training, and for the libraries of the page
    assert (run_dir / "metrics.jsonl").stat().st_size < 10**5


@pytest.mark.parametrize("name", ["summary.json", "evaluation/corruptions.json"])
@pytest.mark.parametrize(
    "content", [b"[" * 10**6, b'{"a":' * 10**6, b'{"mce_pct": 1' + b"0" * 10**6 + b"}", b""]
)
def test_json_that_expands_is_ignored_or_refused(
    run_dir: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    with (run_dir / name).open("wb") as file:
        file.write(content)
        if not content:
            file.truncate(2**30)
    done = run("-m", "tenet.compare", "run", cwd=tmp_path, spare_mb=SPARE_MB)
    assert done.code == 0 or done.refusal()
    assert done.peak_mb < TAKEN_MB


@pytest.mark.parametrize("content", [b'{"sha256": ' + b"[" * 10**6, b'{"sha256": "', b"\xff"])
def test_an_archive_manifest_that_expands_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c").mkdir()
    with (tmp_path / "c" / "manifest.json").open("wb") as file:
        file.write(content)
        file.truncate(2**30 if content.endswith(b'"') else len(content))
    done = run("-m", "tenet.corruptions", "./c", "dataset=digits", cwd=tmp_path, spare_mb=SPARE_MB)
    assert "manifest.json can't be read" in done.refusal()
    assert done.peak_mb < TAKEN_MB
