"""Full or read-only disks, damaged or changed files: one error line, and nothing is lost."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.commands import assert_same_run, assert_told, step_of, train, write_data
from tests.faults.places import Fault


@pytest.mark.slow
def test_a_run_continues_exactly_after_the_disk_was_full_at_any_write(whole: Path, here: Path) -> None:
    run = here / "run"
    for place, count, file, step in [
        ("configuration", 1, "config.yaml", 0),
        ("checkpoint", 3, "checkpoint.pt", 4),
        ("metrics", 3, "metrics.jsonl", 8),
        ("weights", 1, "weights.safetensors", 12),
        ("summary", 1, "summary.json", 12),
    ]:
        ended = train(cwd=here, fault=Fault("forbid", place, count))
        assert_told(
            ended,
            f"{run / file}: File too large; raise the file size limit",
            "then start the same command again",
        )
        assert step_of(run) == step, file
        assert not list(run.glob(".*.tmp"))
    # The disk is full when only the last lines of the log are left to write.
    ended = train(cwd=here, fault=Fault("forbid", "named summary.json"))
    assert ended.code == 0
    assert "Traceback" not in ended.output
    assert_same_run(run, whole)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a file system in memory; only root can do this."""
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.mark.slow
def test_a_run_ends_the_same_after_its_disk_was_full_and_read_only(whole: Path, here: Path) -> None:
    run = here / "run"
    run.mkdir()
    with small_disk(run):
        ended = train(cwd=here, fault=Fault("fill", "checkpoint", 3))
        assert_told(ended, "checkpoint.pt: No space left on device; make room on that disk")
        assert step_of(run) == 4
        (run / "ballast").unlink()
        remount(run, "ro")
        ended = train(cwd=here)
        assert_told(ended, f"{run}/", "Read-only file system; remount that disk read-write")
        remount(run, "rw")
        assert train(cwd=here).code == 0
        assert_same_run(run, whole)


@pytest.mark.slow
def test_a_run_continues_only_with_the_data_it_started_with(whole: Path, here: Path) -> None:
    assert train(cwd=here, fault=Fault("term", "inhibited")).code == 75
    before = (here / "run" / "checkpoint.pt").read_bytes()
    write_data(here, seed=1)
    ended = train(cwd=here)
    assert_told(ended, "the data set has changed since", "training and test images or labels", "rerun=true")
    (here / "data.npz").unlink()
    assert_told(train(cwd=here), "data.npz is not a file")
    assert (here / "run" / "checkpoint.pt").read_bytes() == before
    write_data(here)
    assert train(cwd=here).code == 0
    assert_same_run(here / "run", whole)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
def test_a_run_with_a_damaged_last_checkpoint_continues_from_the_previous_one(
    whole: Path, here: Path
) -> None:
    run = here / "run"
    assert train(cwd=here, fault=Fault("term", "evaluation")).code == 75
    damage(run / "checkpoint.pt")
    ended = train(cwd=here)
    assert ended.code == 0, ended.output
    assert "checkpoint.pt is damaged" in ended.output
    assert "continuing from the one before" in ended.output
    assert_same_run(run, whole)
