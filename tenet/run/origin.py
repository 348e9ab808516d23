"""What the results of a run come from: its configuration and its data, recorded in its folder."""

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenet.config.build import build
from tenet.config.run_config import run_id
from tenet.errors import ConfigError
from tenet.files.json import read_json, write_json
from tenet.files.names import ORIGIN_FILE

if TYPE_CHECKING:
    from tenet.data import Splits

logger = logging.getLogger("tenet")


def fingerprints(splits: "Splits") -> dict[str, str]:
    """The fingerprint of each part of a data set, by its name."""
    parts = zip(("training", "validation", "test"), splits, strict=True)
    return {name: part.content_fingerprint() for name, part in parts if part is not None}


def stamp(files: Iterable[Path]) -> dict[str, list[int]]:
    """Size, inode and times of each file that exists, by its path: as long as they are the same, so is its content."""
    stamps = {}
    for path in files:
        with suppress(OSError, ValueError):  # a record that is not trusted may hold any path
            found = path.stat()
            stamps[str(path)] = [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]
    return stamps


def write_origin(
    run_dir: Path, config: Mapping[str, Any], *, data: Mapping[str, str], files: Mapping[str, list[int]]
) -> None:
    """Record the id of the configuration, the `fingerprints` of the data, and its files' `stamp` before they were read."""
    write_json(run_dir / ORIGIN_FILE, {"run": run_id(config), "data": dict(data), "files": dict(files)})


def read_origin(run_dir: Path) -> dict[str, Any]:
    """The record in a run folder; empty if there is none."""
    return read_json(run_dir / ORIGIN_FILE)


def check_data(
    origin: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    what: str,
    remedy: str = "start again (rerun=true)",
) -> dict[str, list[int]]:
    """Raise ConfigError if the data set of `config` differs from the recorded one; return the stamp of its files.

    The data set is read only if the stamp of a file differs. If all its files are gone, there are no other data, and a
    warning says so. what, remedy: for messages, such as `RUN was trained`. Raises DatasetError if it can't read the data.
    """
    recorded = origin.get("files")
    recorded = recorded if isinstance(recorded, dict) else {}
    if recorded and stamp(map(Path, recorded)) == recorded:
        return recorded
    dataset = build(config["dataset"], key="dataset")
    found = stamp(dataset.files())
    if recorded and not found:
        logger.warning("%s: the data set is gone (%s), so it is not compared", what, next(iter(recorded)))
        return recorded
    if changed := changed_parts(origin, fingerprints(dataset.load())):
        raise ConfigError(
            f"the data set has changed since {what} ({changed} images or labels); restore the earlier data, give the "
            f"new data a path of its own, or {remedy}"
        )
    return found


def changed_parts(origin: Mapping[str, Any], data: Mapping[str, str]) -> str:
    """Such as `training and test`: the parts whose fingerprints in `data` differ from the recorded ones."""
    recorded = origin.get("data")
    recorded = recorded if isinstance(recorded, dict) else {}
    return " and ".join(name for name, found in data.items() if recorded.get(name) != found)


def check_finished(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the finished run in the folder is of this configuration and of the present data."""
    origin = read_origin(run_dir)
    if origin.get("run") != run_id(config):
        raise ConfigError(
            f"{run_dir} has no record that its results are of this configuration and data ({ORIGIN_FILE}); "
            "restore its files, choose another folder, or start again with rerun=true"
        )
    files = check_data(origin, config, what=f"{run_dir} was trained")
    if files != origin["files"]:
        with suppress(OSError):  # the disk may be read-only; the data set is read again then
            write_origin(run_dir, config, data=origin["data"], files=files)


def check_test_data(run_dir: Path, fingerprint: str) -> None:
    """Raise ConfigError if the run in the folder was trained with another test set than that of this fingerprint."""
    recorded = read_origin(run_dir).get("data")
    if isinstance(recorded, dict) and recorded.get("test", fingerprint) != fingerprint:
        raise ConfigError(
            f"the test images or labels have changed since {run_dir} was trained; restore them, "
            "or name the data set (dataset=OPTION), which then is not the run's own"
        )
