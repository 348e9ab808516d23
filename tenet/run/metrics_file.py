"""The files a run's figures go to: `metrics.jsonl`, and JSON that is replaced whole."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tenet.files.atomic import as_storage_error, write_atomically
from tenet.files.json import Scalars, finite_or_null
from tenet.files.plain import check_plain

MAX_LINE_BYTES = 2**20


class MetricsFile:
    """`metrics.jsonl`: one JSON object a line, `{"step": 12, "epoch": 0, "train/loss": 1.9}`.

    NaN and infinities become null, for parsers that hold to the standard. A line that a crash tore is
    dropped on opening, so that the next one starts afresh. No handle stays open between lines.
    Raises StorageError where the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # The last line that was here before, until the first one is written.
        self._found: dict[str, Any] = {}
        with as_storage_error(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                self._keep(lambda row: True)

    def write(self, metrics: Scalars, *, step: int) -> None:
        row = {"step": step, **finite_or_null(metrics)}
        if self._found.keys() == row.keys() and self._found["step"] == step:
            # A process that was killed before the checkpoint that counts on this line had written it already.
            found = self._found
            self._keep(lambda row: row != found)
        self._found = {}
        with as_storage_error(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def drop_after(self, step: int) -> None:
        """Forget what a run that resumes from the checkpoint of `step` will measure again."""
        if self.path.exists():
            self._keep(lambda row: row["step"] <= step)

    def _keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        kept, self._found = 0, {}
        for line, row in _rows(self.path):
            if wanted(row):
                kept, self._found = kept + len(line), row
        if kept == self.path.stat().st_size:
            return

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                file.writelines(line for line, row in _rows(self.path) if wanted(row))

        write_atomically(self.path, write)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file in order, also while it is being written. A null reads as NaN."""
    return [
        {name: math.nan if value is None else value for name, value in row.items()} for _, row in _rows(path)
    ]


def _rows(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The lines that hold metrics, and what they hold. Others were torn by a crash, or by a loss of power.
    One line is in memory at a time, and of one that is too long only pieces."""
    check_plain(path)
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            if not line.endswith(b"\n"):
                continue
            try:
                row = json.loads(line.decode())
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                yield line, row
