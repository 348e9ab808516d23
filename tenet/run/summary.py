"""The final figures of a run."""

from collections.abc import Mapping
from typing import Any


def selection_error(figures: Mapping[str, Any]) -> float:
    """The error to choose runs by: on the validation set if there is one, else on the test set."""
    return float(figures.get("validation/error_pct", figures["test/error_pct"]))
