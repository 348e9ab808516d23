"""When, where and by which code a run was trained, from the records in its folder."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from tenet.compare.evaluations import as_label
from tenet.errors import counted
from tenet.evaluation.reports import as_mapping
from tenet.files.json import read_json
from tenet.files.names import ENVIRONMENT_FILE
from tenet.files.plain import check_plain

LOG_FILE = "train.log"
DATE = re.compile(rb"\d{4}-\d\d-\d\d(?= )")


class Record(NamedTuple):
    """What a run's folder records of its training. Texts are empty if nothing is recorded.

    date: the day on which the training began, such as 2026-11-30. hardware: the GPU, or the CPU and its threads, on which
    rounding depends. keys: keys that the configuration lacks: the experiment, for runs of earlier versions, and the search,
    for a trial.
    """

    commit: str = ""
    date: str = ""
    hardware: str = ""
    keys: Mapping[str, Any] = MappingProxyType({})


def read_record(folder: Path) -> Record:
    """Raises OSError if a file of the folder can't be read."""
    environment = read_json(folder / ENVIRONMENT_FILE)
    git = as_mapping(environment.get("git"))
    commit = as_label(git.get("commit") or "")[:8]
    keys = {"search": as_label(environment["search"])} if environment.get("search") else {}
    for word in _words(environment.get("command")):
        key, _, value = word.partition("=")
        if key in ("experiment", "+experiment") and value:
            keys["experiment"] = as_label(value)
    return Record(
        commit and f"{commit}{' with uncommitted changes' if git.get('dirty') is True else ''}",
        _first_date(folder / LOG_FILE),
        _hardware(environment),
        keys,
    )


def _hardware(environment: Mapping[str, Any]) -> str:
    gpu, cpu, threads = (environment.get(name) for name in ("gpu", "cpu", "threads"))
    on_cpu = f"{cpu}, {counted(threads, 'thread')}" if isinstance(threads, int) else cpu
    return as_label(gpu or on_cpu or "")


def _words(command: Any) -> list[str]:
    try:
        return shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        return []


def _first_date(log: Path) -> str:
    check_plain(log)
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        found = DATE.match(file.read(32))
    return found[0].decode() if found else ""
