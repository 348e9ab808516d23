"""TENET training: group-wise inhibition based feature regularization (ICCV 2021, arXiv 2103.02152).

`tenet.load` gives a trained network in one line (docs/publishing.md). For a training loop of your own: `Network`,
`Inhibited`, `CrossEntropy`, `Jsd`, `Batch` and `Draw` (README, "In your own loop"). They are imported when they are first
used, because torch takes seconds to load.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenet.loading import load
    from tenet.methods import Batch, CrossEntropy, Draw, Inhibited, Jsd
    from tenet.networks import Network

__version__ = "0.2.0"
__all__ = ["Batch", "CrossEntropy", "Draw", "Inhibited", "Jsd", "Network", "load"]
MODULES = {"Network": "tenet.networks", "load": "tenet.loading"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tenet' has no attribute {name!r}")
    return getattr(import_module(MODULES.get(name, "tenet.methods")), name)
