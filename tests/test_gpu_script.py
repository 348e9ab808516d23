"""benchmarks/gpu.py: parts with time limits, one table at the end; and what benchmarks/offline.py takes along."""

import importlib
import json
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
MEMORY = {"ratios": {"tenet_over_plain": 1.1}, "peak_bytes": {"plain": 2**21, "inhibited step": 2**30}}


@pytest.fixture
def gpu(monkeypatch):
    """The module, as its own folder's scripts import each other."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("gpu")


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("offline")


def test_a_part_that_fails_or_hangs_is_named_and_the_others_run(gpu, tmp_path, monkeypatch, capsys):
    parts = {
        "step": ("-c 'raise SystemExit(3)'", 60),
        "epoch": ("-c 'import time; print(1, flush=True); time.sleep(60)'", 1),
        "memory": (f'-c \'print(7); print("""{json.dumps(MEMORY)}""")\'', 60),
    }
    monkeypatch.setattr(
        gpu, "PARTS", {name: gpu.Part(text, text, limit) for name, (text, limit) in parts.items()}
    )
    monkeypatch.setattr(gpu, "PATIENCE", 1)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--small", "--device", "cpu", "--output", str(tmp_path)])
    assert gpu.main() == 1
    rows = [line for line in (tmp_path / "gpu.md").read_text().splitlines() if line.startswith("|")][2:]
    assert rows == [
        "| step | FAILED: exit code 3 |  |  |  |",
        "| epoch | FAILED: not done after 1 s |  |  |  |",
        "| memory | TENET / plain | 1.1 | <= 1.15 | yes |",
        "| memory | plain, MiB | 2 |  |  |",
        "| memory | inhibited step, MiB | 1,024 |  |  |",
    ]
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["parts"]["memory"]["report"] == MEMORY
    assert written["hardware"]
    assert "the figures mean nothing" in capsys.readouterr().out


def test_parts_for_which_no_time_is_left_are_named(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys,
        "argv",
        ["gpu.py", "--parts", "ddp", "--seconds", "1", "--device", "cpu", "--output", str(tmp_path)],
    )
    assert gpu.main() == 1
    assert "| ddp | FAILED: no time was left |" in (tmp_path / "gpu.md").read_text()


def test_tests_count_as_passed_only_if_none_failed_or_was_skipped(gpu):
    (good,), (bad,) = (
        list(gpu.FIGURES["tests"](gpu.report_of(text)))
        for text in ("..\n2 passed in 3s", "2 passed, 1 skipped in 3s")
    )
    assert (good.is_met, bad.is_met) == (True, False)


def test_the_wheels_are_what_the_other_machine_lacks_with_all_that_they_need(offline):
    lacking = {"hydra-core", "omegaconf", "antlr4-python3-runtime"}
    have = (
        {offline.canonicalize_name(found.name) for found in metadata.distributions()}
        - lacking
        - {offline.PROJECT}
    )
    found = offline.needed(["test"], have=have, python="3.12")
    assert set(found) == lacking
    assert found["hydra-core"] == metadata.version("hydra-core")


def test_packed_images_are_of_all_classes_also_if_they_are_sorted_by_class(offline, tmp_path, monkeypatch):
    monkeypatch.setattr(offline, "FOLDER", tmp_path)
    monkeypatch.setattr(offline, "PACKED", tmp_path / "data.npz.xz")
    monkeypatch.setattr(offline, "IMAGES", tmp_path / "data.npz")
    images, labels = np.arange(90, dtype=np.uint8).reshape(90, 1, 1, 1), np.repeat(np.arange(3), 30)
    np.savez(
        tmp_path / "all.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels
    )
    for command in (["data", str(tmp_path / "all.npz"), "--training", "7", "--test", "60"], ["unpack"]):
        monkeypatch.setattr(sys, "argv", ["offline.py", *command])
        offline.main()
    packed = np.load(tmp_path / "data.npz")
    assert np.bincount(packed["train_labels"]).tolist() == [3, 2, 2]
    assert np.bincount(packed["test_labels"]).tolist() == [20, 20, 20]
    assert (packed["train_images"].reshape(-1) // 30 == packed["train_labels"]).all()
