"""Where the initial weights of a run come from: a file, or the published weights of a library's model."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from tenet.config.build import prefix_errors
from tenet.errors import ConfigError
from tenet.files.interface import Interface
from tenet.files.plain import sha256_of
from tenet.files.weights import SavedWeights, read_weights
from tenet.networks import ZooModel

logger = logging.getLogger("tenet")


def find_saved_weights(config: Mapping[str, Any], backbone: nn.Module) -> SavedWeights | None:
    """The initial weights that the configuration of the backbone asks for; None if it asks for none.

    What they expect of images is what the file says; if it says nothing, what the model's published weights expect.
    Raises CheckpointError if the file can't be read, ConfigError if it has changed since the run was configured or if
    published weights can't be downloaded.
    """
    zoo: ZooModel | None = getattr(backbone, "zoo", None)
    if config.get("weights") is not None:
        path = Path(config["weights"])
        saved = read_weights(path)
        if sha256_of(path) != config.get("weights_sha256"):
            raise ConfigError(
                f"backbone.weights={path} is not the file that the run was configured with; restore it, or start again "
                "(rerun=true)"
            )
        if saved.interface is not None or zoo is None or (usual := zoo.normalization()) is None:
            return saved
        return saved._replace(interface=Interface(tuple(usual[0]), tuple(usual[1])))
    if zoo is None or not zoo.is_pretrained:
        return None
    with prefix_errors("backbone"):
        found = zoo.download()
    interface = Interface(tuple(found.mean), tuple(found.std), tuple(found.classes))
    return SavedWeights(Path(found.source), found.tensors, interface)


def compare_normalization(saved: SavedWeights, *, mean: Sequence[float], std: Sequence[float]) -> None:
    """Warn if the initial weights were trained with another normalisation than the run's, `mean` and `std`."""
    expected = saved.interface
    if expected is None or (expected.mean, expected.std) == (tuple(mean), tuple(std)):
        return
    keys = " ".join(
        f"dataset.{name}=[{','.join(map(str, getattr(expected, name)))}]" for name in ("mean", "std")
    )
    logger.warning(
        "the initial weights expect another normalisation than this run's, which keeps mean=%s and std=%s; theirs is %s",
        list(mean),
        list(std),
        keys,
    )
