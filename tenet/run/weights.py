"""The weights in a run folder."""

import logging
from pathlib import Path

from tenet.config.rules import flatten
from tenet.config.run_config import read_config
from tenet.errors import ConfigError
from tenet.files.names import AVERAGED_KEY, AVERAGED_WEIGHTS_FILE, PUBLISHED_WEIGHTS_FILE, WEIGHTS_FILE

logger = logging.getLogger("tenet")


def find_weights(run_dir: Path, *, averaged: bool = False) -> Path:
    """The file of weights of a finished or published run; with a warning, the last intact checkpoint of an unfinished one.

    averaged: the file of the averaged weights. Raises ConfigError if there are no such weights, CheckpointError if all
    checkpoints are damaged.
    """
    if (run_dir / PUBLISHED_WEIGHTS_FILE).is_file():
        if averaged:
            raise ConfigError(
                f"weights_key={AVERAGED_KEY}: {run_dir} was published with one set of weights; leave it out"
            )
        return run_dir / PUBLISHED_WEIGHTS_FILE
    if averaged and dict(flatten(read_config(run_dir))).get("ema.decay") is None:
        raise ConfigError(
            f"weights_key={AVERAGED_KEY}: {run_dir} has no averaged weights; train it with ema.decay=0.999, or leave "
            "weights_key out"
        )
    if (run_dir / WEIGHTS_FILE).exists():  # the last file of a finished run
        return run_dir / (AVERAGED_WEIGHTS_FILE if averaged else WEIGHTS_FILE)
    from tenet.training.checkpoint import Checkpoints

    saved = Checkpoints(run_dir).find()
    if saved is None:
        raise ConfigError(f"run={run_dir}: there are no weights and no checkpoint to evaluate")
    logger.warning("%s has not finished: evaluating its last checkpoint", run_dir)
    return saved.path
