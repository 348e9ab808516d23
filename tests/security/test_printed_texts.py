"""Names and contents of files and folders appear in terminals, tables and documents only as plain text."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml

from tests.security.commands import TINY, run
from tests.security.hostile import safetensors

# Clears the screen, sets the window's title, rings the bell, and prints a forged line.
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\rrun\nerror: all is well\u202e"
UNPRINTABLE = re.compile(r"[^\n\t -~\u00a1-\u2029\u202f-\uffff]")


@pytest.mark.slow
def test_folder_names_are_escaped_in_errors(tmp_path: Path) -> None:
    place = tmp_path / ESCAPES.replace("/", "")
    place.mkdir()
    (place / "config.yaml").write_text("seed: [1")
    for words in (
        ["-m", "tenet.compare", place],
        ["-m", "tenet.xray", place],
        ["-m", "tenet.corruptions.download", "cifar10c", place / "config.yaml"],
    ):
        done = run(*words, cwd=tmp_path)
        assert done.refusal()
        assert UNPRINTABLE.search(done.output) is None


@pytest.mark.slow
def test_the_name_of_a_run_is_escaped_in_output(run_dir: Path, tmp_path: Path) -> None:
    place = run_dir.rename(tmp_path / ESCAPES.replace("/", ""))
    for words in (
        ["-m", "tenet.xray", place, "--images", "0"],
        ["-m", "tenet.compare", place, "--output", f"{place}.csv"],
    ):
        done = run(*words, cwd=tmp_path)
        assert done.code == 0, done.output
        assert UNPRINTABLE.search(done.output) is None


@pytest.mark.slow
def test_a_name_is_neither_markup_nor_a_formula(run_dir: Path, tmp_path: Path) -> None:
    run_dir.rename(tmp_path / r"[red]run$\nope$")
    words = ["evaluate.py", r"run='[red]run$\nope$'", "corruptions.names=[fog]", "corruptions.severities=[1]"]
    assert run(*words, cwd=tmp_path).output.startswith(r"[red]run$\nope$: top-1 error")
    assert run("-m", "tenet.xray", r"[red]run$\nope$", "--images", "0", cwd=tmp_path).code == 0


def test_errors_list_only_some_names_of_weights_and_escape_them(tmp_path: Path) -> None:
    header = {
        f"{ESCAPES}{number}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * number, 4 * number + 4]}
        for number in range(2000)
    }
    path = safetensors(tmp_path / "w.safetensors", header, bytes(8000))
    done = run("evaluate.py", f"weights={path}", "backbone=resnet8", "dataset=digits", cwd=tmp_path)
    assert "and 1990 more" in done.refusal()


def write_data(path: Path, classes: list[str]) -> None:
    images = np.random.default_rng(0).integers(256, size=(40, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(40) % len(classes)
    np.savez(
        path,
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
        classes=classes,
    )


@pytest.mark.parametrize("name", [ESCAPES, "x" * 10_000])
def test_invalid_class_names_are_refused(tmp_path: Path, name: str) -> None:
    write_data(tmp_path / "own.npz", ["a", name])
    done = run("train.py", *TINY, "dataset=arrays", "dataset.path=own.npz", cwd=tmp_path)
    assert "is not a name of at most 100 printable characters" in done.refusal()


def test_class_names_that_are_not_valid_characters_are_refused(tmp_path: Path) -> None:
    """Found by the fuzzer: NumPy stores strings as numbers and accepts numbers that are not code points."""
    write_data(tmp_path / "own.npz", ["a", "b"])
    with np.load(tmp_path / "own.npz") as file:
        arrays = dict(file)
    arrays["classes"] = np.array([97, 0xFFFFFFFF], np.uint32).view("<U1")
    np.savez(tmp_path / "own.npz", **arrays)
    done = run("train.py", *TINY, "dataset=arrays", "dataset.path=own.npz", cwd=tmp_path)
    assert "own.npz (classes): can't be read as strings" in done.refusal()


@pytest.mark.slow
def test_class_names_are_neither_markup_nor_formulas(tmp_path: Path) -> None:
    write_data(tmp_path / "own.npz", [r"$\nope$", "[/red]", "a|b", "<b>"])
    data = ["dataset=arrays", "dataset.path=own.npz", "dataset.fraction=1.0"]
    for words in (
        ["train.py", *TINY, *data, "hydra.run.dir=run"],
        ["evaluate.py", "run=run", "corruptions.names=[fog]", "measures.per_class=true"],
        ["-m", "tenet.xray", "run", "--images", "0", "1"],
    ):
        done = run(*words, cwd=tmp_path)
        assert done.code == 0, done.output


def rewrite(run_dir: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    change(config)
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=False))


FORMULA = '=HYPERLINK("http://evil.example","x")'
LATEX = r"\input{/etc/passwd}$x^2_~#%&{}"


def poison(run_dir: Path, text: str) -> None:
    """Put a string into every place of a run folder from which a comparison reads one."""
    rewrite(run_dir, lambda config: config["dataset"].update({"path": text, text: 1}))
    report = {"mce_pct": 9.0, "source": text, "clean": {"error_pct": 3.0}, "corruptions": {text: {"1": 3.0}}}
    (run_dir / "evaluation").mkdir(exist_ok=True)
    (run_dir / "evaluation" / "corruptions.json").write_text(json.dumps(report))
    summary = {"test/error_pct": 3.0, f"mCE, {text}": 1.0, text: 2.0, "corruption/source": text}
    (run_dir / "summary.json").write_text(json.dumps(summary))


class Compared(NamedTuple):
    file: str
    output: str


@pytest.fixture
def compared(run_dir: Path, tmp_path: Path) -> Callable[..., Compared]:
    """Returns the file and the output of a comparison of a poisoned run with an honest one, in the given format."""

    def compare(text: str, form: str) -> Compared:
        shutil.copytree(run_dir, tmp_path / "honest")
        broken = tmp_path / text.replace("/", "")[:80]
        broken.mkdir()
        (broken / "config.yaml").write_text("seed: 1")
        poison(run_dir, text)
        words = [
            "-m",
            "tenet.compare",
            "run",
            "honest",
            f"./{broken.name}",
            "--format",
            form,
            "--output",
            "written",
        ]
        done = run(*words, cwd=tmp_path)
        assert done.code == 0, done.output
        return Compared((tmp_path / "written").read_text(), done.output)

    return compare


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "csv", "html"])
def test_a_comparison_shows_no_control_characters(compared: Callable[..., Compared], form: str) -> None:
    for text in compared(ESCAPES, form):
        assert UNPRINTABLE.search(text) is None


@pytest.mark.parametrize("sign", "=+-@")
def test_no_cell_of_a_csv_is_a_formula(compared: Callable[..., Compared], sign: str) -> None:
    text = sign + FORMULA[1:]
    cells = [cell for row in csv.reader(io.StringIO(compared(text, "csv").file)) for cell in row]
    assert f"'{text}" in cells
    assert [cell for cell in cells if cell[:1] in "=+-@" and len(cell) > 1 and not _is_number(cell)] == []


def _is_number(text: str) -> bool:
    try:
        return bool(float(text)) or True
    except ValueError:
        return False


def test_latex_escapes_strings(compared: Callable[..., Compared]) -> None:
    output = compared(LATEX, "latex").file
    shown = [line for line in output.splitlines() if not line.startswith("%")]
    assert any(r"\textbackslash{}input\{/etc/passwd\}\$x\textasciicircum{}2\_" in line for line in shown)
    assert all(r"\input" not in line for line in shown)


def test_markdown_escapes_strings(compared: Callable[..., Compared]) -> None:
    output = compared("<img src=x onerror=alert(1)>|[x](javascript:y)", "markdown").file
    assert r"&lt;img src=x onerror=alert(1)>\|\[x](javascript:y)" in output
    assert "<img" not in output


def test_the_response_of_a_server_is_escaped(tmp_path: Path) -> None:
    script = (
        "import socket, sys\n"
        "server = socket.create_server(('127.0.0.1', 0)); print(server.getsockname()[1], flush=True)\n"
        "connection, _ = server.accept(); connection.recv(9999)\n"
        "connection.sendall(b'HTTP/1.1 404 \\x1b[2Jgone\\x07\\r\\nContent-Length: 0\\r\\n\\r\\n'); connection.close()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        done = run(
            "-m",
            "tenet.corruptions.download",
            "cifar10c",
            "data",
            "--url",
            f"http://127.0.0.1:{port}/x",
            cwd=tmp_path,
        )
    assert "404" in done.refusal()
    assert os.linesep not in done.refusal()


def storage_named(name: str) -> bytes:
    """A file of torch whose only tensor lies in a storage of that name."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(2)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    key = f"X{len(name.encode()):c}\0\0\0".encode() + name.encode()
    members = {member: data.replace(b"X\x01\0\0\0" + b"0", key) for member, data in members.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return buffer.getvalue()


def test_a_log_shows_the_names_in_a_damaged_checkpoint_without_control_characters(run_dir: Path) -> None:
    (run_dir / "checkpoint.pt").rename(run_dir / "checkpoint-previous.pt")
    (run_dir / "checkpoint.pt").write_bytes(storage_named(ESCAPES))
    done = run("train.py", "resume=run", cwd=run_dir.parent)
    assert "continuing from the one before" in done.output
    for text in (done.output, (run_dir / "train.log").read_text()):
        assert "?[2J?]0;owned" in text
        assert UNPRINTABLE.search(text) is None


def test_an_evaluation_shows_the_identity_in_its_folder_without_control_characters(run_dir: Path) -> None:
    folder = run_dir / "evaluation" / "corruptions-part-predictions"
    folder.mkdir()
    (folder / "identity.json").write_text(json.dumps({ESCAPES: 1, "version": ESCAPES}))
    done = run("evaluate.py", "run=run", "corruptions.names=[]", cwd=run_dir.parent)
    assert "version changed" in done.output
    assert UNPRINTABLE.search(done.output) is None
