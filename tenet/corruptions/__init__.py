"""The CIFAR-C corruptions: names, generator, and reader of the official archives."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES

if TYPE_CHECKING:
    from tenet.corruptions.archive import OfficialArchive
    from tenet.corruptions.generator import corrupt
    from tenet.corruptions.pictures import contact_sheet

__all__ = ["CORRUPTIONS", "EXTRA_CORRUPTIONS", "SEVERITIES", "OfficialArchive", "contact_sheet", "corrupt"]

_LAZY = {"OfficialArchive": "archive", "contact_sheet": "pictures", "corrupt": "generator"}


def __getattr__(name: str) -> Any:
    # Lazy, so that code that needs only the names does not import torch and numpy.
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
