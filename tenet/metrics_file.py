"""The files a run's figures go to: `metrics.jsonl`, and JSON that is replaced whole."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

# Values by metric name; texts stand in summaries only, such as corruption/source.
Scalars: TypeAlias = Mapping[str, int | float | str]


class MetricsFile:
    """`metrics.jsonl`: one JSON object a line, `{"step": 12, "epoch": 0, "train/loss": 1.9}`.

    NaN and infinities become null, for parsers that hold to the standard. A line that a crash tore is
    dropped on opening, so that the next one starts afresh. No handle stays open between lines.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._keep(lambda step: True)

    def write(self, metrics: Scalars, *, step: int) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **finite_or_null(metrics)}, allow_nan=False) + "\n")

    def drop_after(self, step: int) -> None:
        """Forget what a run that resumes from the checkpoint of `step` will measure again."""
        if self.path.exists():
            self._keep(lambda written: written <= step)

    def _keep(self, wanted: Callable[[int], bool]) -> None:
        text = self.path.read_text(encoding="utf-8", errors="replace")
        kept = "".join(f"{line}\n" for line, row in _rows(text) if wanted(row["step"]))
        if kept != text:
            replace_file(self.path, kept)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file in order, also while it is being written. A null reads as NaN."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return [
        {name: math.nan if value is None else value for name, value in row.items()} for _, row in _rows(text)
    ]


def finite_or_null(metrics: Scalars) -> dict[str, int | float | str | None]:
    """NaN and infinities as None, which strict JSON can write."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }


def _rows(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines that hold metrics, and what they hold. Others were torn by a crash, or by a loss of power."""
    for line in text.split("\n")[:-1]:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            yield line, row


def read_json(path: Path) -> dict[str, Any]:
    """What the file holds; nothing where there is no file, or a crash left it broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    replace_file(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new, never a part."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
