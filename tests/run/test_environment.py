"""The record of code, packages and machine in a run folder."""

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from tenet import __version__
from tenet.run import environment
from tenet.run.environment import describe_arithmetic, without_credentials, write_environment

SECRET = "planted-7d1f0b62"
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit of a package, which `environment` treats as this package."""
    package = tmp_path / "repository" / "tenet"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("a = 1\n")
    git(package, "init", "--quiet")
    git(package, "remote", "add", "origin", f"https://me:{SECRET}@example.org/tenet.git")
    git(package, "add", ".")
    git(package, "commit", "--quiet", "--message", "one")
    monkeypatch.setattr(environment, "PACKAGE", package)
    return package


def written(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "environment.json").read_text())


def test_the_environment_names_versions_hardware_and_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "tracking.notes=two words"])
    write_environment(tmp_path, processes=2)
    found = written(tmp_path)
    assert {
        "processes": 2,
        "threads": torch.get_num_threads(),
        "cpu": environment.cpu_model(),
    }.items() <= found.items()
    assert describe_arithmetic(processes=2).items() <= found.items()
    assert found["command"] == "train.py 'tracking.notes=two words'"
    assert (found["tenet"], found["torch"]) == (__version__, torch.__version__)
    assert found["python"] == platform.python_version()
    assert found["packages"]["hydra-core"].startswith("1.")
    assert 1 <= found["cpus"] <= (os.cpu_count() or 1)
    assert found["memory_gib"] > 0
    assert len(found["gpus"]) == torch.cuda.device_count()


def test_clean_code_has_its_commit_and_no_patch(repository: Path, tmp_path: Path) -> None:
    write_environment(tmp_path)
    assert written(tmp_path)["git"] == {
        "commit": git(repository, "rev-parse", "HEAD"),
        "dirty": False,
        "remote": "https://example.org/tenet.git",
    }
    assert not (tmp_path / "code.patch").exists()


def test_the_patch_turns_the_commit_into_the_code_that_ran(repository: Path, tmp_path: Path) -> None:
    (repository / "__init__.py").write_text("a = 2\n")
    write_environment(tmp_path)
    assert written(tmp_path)["git"]["dirty"]
    git(repository, "checkout", "--quiet", ".")
    git(repository, "apply", str(tmp_path / "code.patch"))
    assert (repository / "__init__.py").read_text() == "a = 2\n"


def test_a_package_inside_a_repository_that_does_not_track_it_has_no_commit(
    repository: Path, tmp_path: Path
) -> None:
    git(repository, "rm", "--quiet", "--cached", "__init__.py")
    write_environment(tmp_path)
    assert written(tmp_path)["git"] is None


def test_the_environment_is_written_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    write_environment(tmp_path)
    assert written(tmp_path)["git"] is None


def test_no_file_contains_values_of_the_environment(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    write_environment(tmp_path / "run")
    texts = [path.read_text() for path in (tmp_path / "run").iterdir()]
    assert len(texts) == 1
    assert not any(SECRET in text for text in texts)


def test_a_resumed_run_keeps_the_record_of_an_earlier_different_environment(
    repository: Path, tmp_path: Path
) -> None:
    (repository / "__init__.py").write_text("a = 2\n")
    write_environment(tmp_path)
    first, patch = written(tmp_path), (tmp_path / "code.patch").read_text()
    write_environment(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"repository", "environment.json", "code.patch"}
    git(repository, "commit", "--quiet", "--all", "--message", "two")
    write_environment(tmp_path)
    assert not written(tmp_path)["git"]["dirty"]
    assert not (tmp_path / "code.patch").exists()
    (before,) = tmp_path.glob("environment-*.json")
    assert json.loads(before.read_text()) == first
    (patch_before,) = tmp_path.glob("code-*.patch")
    assert patch_before.read_text() == patch


@pytest.mark.parametrize(
    ("remote", "clean"),
    [
        ("https://me:key@host.org/a/b.git", "https://host.org/a/b.git"),
        ("https://key@host.org:8443/a", "https://host.org:8443/a"),
        ("https://key:x-oauth-basic@host.org/a", "https://host.org/a"),
        ("https://host.org/a?token=key#part", "https://host.org/a"),
        ("git@host.org:a/b.git", "host.org:a/b.git"),
        ("/home/a@b/c.git", "/home/a@b/c.git"),
    ],
)
def test_remotes_lose_their_credentials(remote: str, clean: str) -> None:
    assert without_credentials(remote) == clean
