"""Atomic writing of JSON files, and safe reading of untrusted ones."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from tenet.files.atomic import write_atomically
from tenet.files.plain import read_bytes

# Metric name -> value.
Scalars: TypeAlias = Mapping[str, int | float]

# Far more than any summary or report needs.
MAX_JSON_BYTES = 2**26


def finite_or_null(metrics: Scalars) -> dict[str, int | float | None]:
    """Replace NaN and infinities by None: strict JSON cannot represent them."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in the file, or an empty dict if the file is missing or is not a valid JSON object."""
    try:
        content = json.loads(read_bytes(path, limit_bytes=MAX_JSON_BYTES))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def number(value: object) -> float | None:
    """Return a value that was read from a file as a float, or None if it is not a finite number."""
    try:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return float(value) if is_number else None  # type: ignore[arg-type]


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    replace_file(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def replace_file(path: Path, text: str) -> None:
    """Replace a text file atomically: a reader sees the old text or the new one, never a part."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
