"""The record of a run's code, packages, hardware and command. It includes no environment variables but its own."""

import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from tenet import __version__
from tenet.files.json import read_json, replace_file, write_json
from tenet.files.names import ENVIRONMENT_FILE, PATCH_FILE

# The variable with the command that the user typed: the process of a parallel job has another one.
COMMAND = "TENET_COMMAND"
# The variable with the name of the search that this run is a trial of.
SEARCH = "TENET_SEARCH"
GIT_TIMEOUT_S = 10  # git may hang if the repository is on a network drive
PACKAGE = Path(__file__).resolve().parents[1]


def write_environment(run_dir: Path, *, processes: int = 1, plugins: Mapping[str, str] | None = None) -> None:
    """Write `environment.json`, and `code.patch` if tracked files differ from the commit.

    processes: how many train together. plugins: those that the run uses, with their versions.
    If a resumed run has another environment than before, the earlier files are kept under names that end with their
    date and time.
    """
    environment = describe_environment(processes=processes) | {"plugins": dict(plugins or {})}
    patch = _uncommitted_changes()
    before = read_json(run_dir / ENVIRONMENT_FILE)
    if before and before != environment:
        since = time.strftime("%Y%m%d-%H%M%S", time.localtime((run_dir / ENVIRONMENT_FILE).stat().st_mtime))
        for path in (run_dir / ENVIRONMENT_FILE, run_dir / PATCH_FILE):
            if path.exists():
                path.replace(path.with_name(f"{path.stem}-{since}{path.suffix}"))
    write_json(run_dir / ENVIRONMENT_FILE, environment)
    if patch:
        replace_file(run_dir / PATCH_FILE, patch)


def describe_environment(*, processes: int = 1) -> dict[str, Any]:
    """Return the content of `environment.json`. `git` is None if the package is not part of a repository."""
    import torch

    return {
        "command": os.environ.get(COMMAND, shlex.join(sys.argv)),
        **({"search": os.environ[SEARCH]} if SEARCH in os.environ else {}),
        "tenet": __version__,
        "git": code_version(),
        "python": platform.python_version(),
        **describe_arithmetic(processes=processes),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "platform": platform.platform(),
        "host": platform.node(),
        "packages": dict(sorted((found.name.lower(), found.version) for found in metadata.distributions())),
    }


def describe_arithmetic(*, processes: int = 1) -> dict[str, Any]:
    """Return what the last digits of a figure depend on, for the same command and data: processes, threads, hardware and
    libraries, and the settings of float32 arithmetic. Call it after the device and the precision were set."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "processes": processes,
        "threads": torch.get_num_threads(),
        "cpu": cpu_model(),
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "tf32": {
            "matmul": torch.backends.cuda.matmul.allow_tf32 if cuda else None,
            "convolution": torch.backends.cudnn.allow_tf32 if cuda else None,
        },
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def code_version() -> dict[str, Any] | None:
    """Return the commit, whether any file differs from it (including new files), and the remote without credentials.

    Returns None if the package is not part of a repository.
    """
    if not _is_versioned():
        return None
    remote = git("config", "--get", "remote.origin.url")
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain")),
        "remote": remote and without_credentials(remote),
    }


def _uncommitted_changes() -> str | None:
    """The changes of tracked files since the commit, as a patch for `git apply`; None if there are none."""
    # The options override the user's own diff settings.
    options = ("--no-ext-diff", "--no-textconv", "--no-color")
    patch = git("diff", *options, "HEAD") if _is_versioned() else None
    return f"{patch}\n" if patch else None


def _is_versioned() -> bool:
    """Whether git tracks the package. A package in a .venv may be inside a repository without being part of it."""
    return git("ls-files", "--error-unmatch", "__init__.py") is not None


def git(*arguments: str) -> str | None:
    """Run git in the package's folder and return its output; None if git fails, hangs or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE), *arguments], capture_output=True, timeout=GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip("\n")


def without_credentials(remote: str) -> str:
    """Remove user, token and query from an address such as `https://user:token@host/path?key=x`."""
    scheme, separator, rest = remote.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}".partition("?")[0].partition("#")[0]


def cpu_model() -> str:
    with suppress(OSError):  # not Linux
        if found := re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    """The machine's memory; None if the system does not report it."""
    with suppress(ValueError, OSError):
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    return None
