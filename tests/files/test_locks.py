"""Lock files, also on file systems without locks."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from tenet.errors import StorageError
from tenet.files.atomic import hold, locked
from tenet.run.folder import RunFolder

WITHOUT_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    """flock fails with this error, as on a file system that answers so."""

    def fail(file: object, how: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", fail)
    return int(request.param)


@pytest.mark.parametrize("answer", WITHOUT_LOCKS, indirect=True)
def test_a_file_system_without_locks_is_worked_in_with_a_warning(
    answer: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RunFolder(tmp_path / "run"):
        pass
    (warning,) = caplog.messages
    assert warning.startswith(
        f"{tmp_path / 'run' / '.lock'}: the file system has no locks ({os.strerror(answer)})"
    )
    with locked(tmp_path / "lock", reason="it never ends"):
        assert (tmp_path / "lock").exists()


@pytest.mark.parametrize("answer", [errno.EIO, errno.EBADF], indirect=True)
def test_another_failure_of_a_lock_names_the_file_and_the_reason(answer: int, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=rf"lock: can't be locked: {os.strerror(answer)}"):
        hold(tmp_path / "lock")


@pytest.mark.parametrize("answer", [errno.EAGAIN, errno.EACCES], indirect=True)
def test_a_lock_of_another_process_is_told_from_a_failure(answer: int, tmp_path: Path) -> None:
    assert hold(tmp_path / "lock") is None


def test_a_block_waits_for_the_lock_and_removes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    other = hold(tmp_path / "lock")
    assert other is not None
    monkeypatch.setattr("time.sleep", lambda seconds: other.close())
    with locked(tmp_path / "lock", reason="it downloads CIFAR10"):
        assert hold(tmp_path / "lock") is None
    assert caplog.messages == ["waiting for another process: it downloads CIFAR10"]
    assert list(tmp_path.iterdir()) == []
