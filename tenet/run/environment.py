"""What a run ran on: code, packages, hardware and command; never what environment variables hold."""

import os
import platform
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from tenet import __version__
from tenet.files.json import read_json, replace_file, write_json
from tenet.files.names import ENVIRONMENT_FILE, PATCH_FILE

GIT_TIMEOUT_S = 10  # a repository on a network drive may hang
PACKAGE = Path(__file__).resolve().parents[1]


def write_environment(run_dir: Path) -> None:
    """Write `environment.json`, and `code.patch` if tracked files differ from the commit.

    Where the folder holds another environment's, of a run that is now gone on with, both are kept under names
    with the time of that one.
    """
    environment, patch = describe_environment(), uncommitted_changes()
    before = read_json(run_dir / ENVIRONMENT_FILE)
    if before and before != environment:
        since = time.strftime("%Y%m%d-%H%M%S", time.localtime((run_dir / ENVIRONMENT_FILE).stat().st_mtime))
        for path in (run_dir / ENVIRONMENT_FILE, run_dir / PATCH_FILE):
            if path.exists():
                path.replace(path.with_name(f"{path.stem}-{since}{path.suffix}"))
    write_json(run_dir / ENVIRONMENT_FILE, environment)
    if patch:
        replace_file(run_dir / PATCH_FILE, patch)


def describe_environment() -> dict[str, Any]:
    """What `environment.json` holds. `git` is null where the package is not part of a repository."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "command": shlex.join(sys.argv),
        "tenet": __version__,
        "git": code_version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": memory_gib(),
        "platform": platform.platform(),
        "host": platform.node(),
        "packages": dict(sorted((found.name.lower(), found.version) for found in metadata.distributions())),
    }


def code_version() -> dict[str, Any] | None:
    """Commit, whether files differ from it (new ones too), and the remote without credentials."""
    if not is_versioned():
        return None
    remote = git("config", "--get", "remote.origin.url")
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain")),
        "remote": remote and without_credentials(remote),
    }


def uncommitted_changes() -> str | None:
    """How tracked files differ from the commit, as `git apply` takes it; None where they don't."""
    if not is_versioned():
        return None
    # As plain text, whatever the user's own settings make of a diff.
    patch = git("diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD")
    return f"{patch}\n" if patch else None


def is_versioned() -> bool:
    """Whether the package is part of a repository; in a .venv it only lies in one."""
    return git("ls-files", "--error-unmatch", "__init__.py") is not None


def git(*arguments: str) -> str | None:
    """What git prints in the package's folder; None where it fails, hangs or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE), *arguments], capture_output=True, timeout=GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip("\n")


def without_credentials(remote: str) -> str:
    """`https://user:token@host/path?key=x` without user, token and key."""
    scheme, separator, rest = remote.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}".partition("?")[0].partition("#")[0]


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def memory_gib() -> float | None:
    """The machine's memory; None where the system doesn't tell."""
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (ValueError, OSError):
        return None
