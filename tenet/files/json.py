"""JSON files that are replaced whole, and reading those that may come from anyone."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from tenet.files.atomic import write_atomically
from tenet.files.plain import read_bytes

# Values by metric name; texts stand in summaries only, such as corruption/source.
Scalars: TypeAlias = Mapping[str, int | float | str]


# What no summary and no report reaches, and what no line of metrics does.
MAX_JSON_BYTES = 2**26


def finite_or_null(metrics: Scalars) -> dict[str, int | float | str | None]:
    """NaN and infinities as None, which strict JSON can write."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }


def read_json(path: Path) -> dict[str, Any]:
    """What the file holds; nothing where there is no file, or none that was written whole by this package."""
    try:
        content = json.loads(read_bytes(path, limit_bytes=MAX_JSON_BYTES))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def number(value: object) -> float | None:
    """What a file says a figure is; None for anything that is no finite number."""
    try:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return float(value) if is_number else None  # type: ignore[arg-type]


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    replace_file(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new, never a part."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
