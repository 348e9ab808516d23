"""The folders of multiruns: one for each, and none of those that were killed."""

from pathlib import Path

from tenet.files.atomic import hold
from tenet.launching.multirun import remove_killed
from tenet.launching.plugin import unused


def make_folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).touch()
    return path


def test_only_what_a_killed_multirun_left_is_removed(tmp_path: Path) -> None:
    killed = make_folder(tmp_path / "multirun-1", ".lock", "results.json", "job-0.log", "job-11.log")
    users = make_folder(tmp_path / "multirun-2", ".lock", "results.json", "notes.txt")
    finished = make_folder(tmp_path / "multirun-3", "results.json", "job-0.log")
    running = make_folder(tmp_path / "multirun-4", "results.json", "job-0.log")
    lock = hold(running / ".lock")
    assert lock is not None
    with lock:
        remove_killed(tmp_path)
    assert not killed.exists()
    assert [path.name for path in users.iterdir()] == ["notes.txt"]
    assert len(list(finished.iterdir())) == 2
    assert len(list(running.iterdir())) == 3


def test_multiruns_that_start_in_the_same_moment_have_folders_of_their_own(tmp_path: Path) -> None:
    first = unused(tmp_path / "multirun-1")
    first.mkdir()
    second = unused(tmp_path / "multirun-1")
    second.mkdir()
    assert (first.name, second.name) == ("multirun-1", "multirun-1-2")
    assert unused(tmp_path / "multirun-1").name == "multirun-1-3"
