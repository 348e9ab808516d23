"""Writing and reading `metrics.jsonl`."""

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
    """`metrics.jsonl`: one JSON object per line, such as `{"step": 12, "epoch": 0, "train/loss": 1.9}`.

    NaN and infinities are written as null, as strict JSON requires. Opening the file removes a line that a crash left
    incomplete. The file is closed between lines. Raises StorageError if a write fails.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # The last line of the existing file. It is cleared by the first write.
        self._found: dict[str, Any] = {}
        with as_storage_error(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                self._keep(lambda row: True)

    def write(self, metrics: Scalars, *, step: int) -> None:
        row = {"step": step, **finite_or_null(metrics)}
        if self._found.keys() == row.keys() and self._found["step"] == step:
            # A process wrote this line already and was killed before it saved the checkpoint: replace the line.
            found = self._found
            self._keep(lambda row: row != found)
        self._found = {}
        with as_storage_error(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def drop_after(self, step: int) -> None:
        """Remove the lines after `step`: a run that resumes from the checkpoint of `step` writes them again."""
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
    """Return the lines of a metrics file in order; null becomes NaN. Another process may be writing to the file."""
    return [
        {name: math.nan if value is None else value for name, value in row.items()} for _, row in _rows(path)
    ]


def _rows(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield each valid line with its content. Lines damaged by a crash or a power failure are skipped.

    Memory holds one line at a time, and of a line longer than `MAX_LINE_BYTES` only one piece.
    """
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
