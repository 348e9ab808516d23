"""A run folder that is moved, removed, unlocked, read-only, or holds something else under a run's names."""

import errno
import json
import os
from pathlib import Path

import pytest

from tenet.errors import StorageError
from tenet.files.atomic import write_atomically
from tests.faults.commands import assert_same_run, assert_told, train
from tests.faults.places import Fault
from tests.faults.test_storage import remount, small_disk


@pytest.mark.parametrize(("action", "left"), [("remove", []), ("replace", ["run"])])
def test_a_run_whose_folder_is_gone_says_so_and_writes_nowhere_else(
    here: Path, action: str, left: list[str]
) -> None:
    ended = train(cwd=here, fault=Fault(action, "descent", 2))
    assert_told(ended, f"{here / 'run'} was moved or removed while this run was working in it; move it back")
    assert [path.name for path in here.glob("run*")] == left
    assert not any((here / "run").glob("*"))


@pytest.mark.slow
def test_a_run_stops_before_it_writes_into_a_folder_that_another_machine_has_taken_over(here: Path) -> None:
    """As on a network file system that holds locks on each machine by itself."""
    ended = train(cwd=here, fault=Fault("take over", "descent", 6))
    assert_told(ended, f"node2 process 7 has taken over {here / 'run'}, so this process stops")
    steps = [json.loads(line)["step"] for line in (here / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [3, 4], "the lines before, and none after"
    assert train(cwd=here).code == 0, "if the other one has ended, the run goes on"


@pytest.mark.slow
def test_a_run_whose_lock_file_is_removed_stays_the_only_writer(whole: Path, here: Path) -> None:
    from tests.faults.commands import TINY, Command, wait_for

    first = Command("train", *TINY, cwd=here, fault=Fault("unlock", "descent", 2))
    wait_for(lambda: (here / "run" / "checkpoint.pt").exists())
    second = train(cwd=here)
    if first.runs:
        assert_told(second, "another process is working in")
    assert first.wait().code == 0
    assert_same_run(here / "run", whole)


@pytest.mark.slow
def test_a_finished_run_on_a_read_only_disk_gives_its_result(here: Path) -> None:
    run = here / "run"
    run.mkdir()
    with small_disk(run):
        assert train(cwd=here).code == 0
        remount(run, "ro")
        ended = train(cwd=here)
        assert ended.code == 0, ended.output
        assert "run has finished already: test error" in ended.output
        assert_told(train("rerun=true", cwd=here), "Read-only file system; remount that disk read-write")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train.log", "evaluation", "config.yaml"])
def test_a_folder_in_the_place_of_a_file_is_named_with_the_remedy(here: Path, name: str) -> None:
    path = here / "run" / name
    path.parent.mkdir()
    path.touch() if name == "evaluation" else path.mkdir()
    what = (
        "a file, where a run keeps a folder" if name == "evaluation" else "a folder, where a run keeps a file"
    )
    assert_told(train(cwd=here), f"{path} is {what}; move it away")


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_fsync_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    write_atomically(tmp_path / "file", lambda temporary: temporary.write_text("whole"))
    assert (tmp_path / "file").read_text() == "whole"
    code = errno.EIO
    with pytest.raises(StorageError):
        write_atomically(tmp_path / "file", lambda temporary: temporary.write_text("other"))
    assert (tmp_path / "file").read_text() == "whole"
