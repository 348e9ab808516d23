"""What an evaluation is asked to measure: which model, on which images, and where the report goes."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenet.config.rules import did_you_mean
from tenet.config.run_config import read_config
from tenet.corruptions.names import CORRUPTIONS, SEVERITIES
from tenet.errors import ConfigError
from tenet.files.names import EVALUATION_FOLDER, WEIGHTS_FILE
from tenet.files.paths import user_path

if TYPE_CHECKING:
    from tenet.corruptions.sources import ArchivedCorruptions, GeneratedCorruptions
    from tenet.data import EvaluationSet

logger = logging.getLogger("tenet")


def choose_subject(config: Mapping[str, Any]) -> dict[str, Any]:
    """What to evaluate: dataset, backbone, tracking and run_dir or weights, of a run folder or as given.

    Raises ConfigError unless it is one of the two, and whole.
    """
    if (config["run"] is None) == (config["weights"] is None):
        raise ConfigError("give run=RUN_DIR, or weights=FILE with backbone= and dataset= (see --help)")
    if config["weights"] is not None and not user_path(config["weights"], key="weights").is_file():
        raise ConfigError(f"weights={config['weights']} is not a file")
    own: dict[str, Any] = {"tracking": None}
    if config["run"] is not None:
        run_dir = user_path(config["run"], key="run")
        own = {**read_config(run_dir), "run_dir": run_dir}
    chosen = {name: config.get(name) or own.get(name) for name in ("dataset", "backbone", "tracking")}
    for name in ("dataset", "backbone"):
        if chosen[name] is None:
            raise ConfigError(f"weights={config['weights']} needs {name}=OPTION beside it (see --help)")
    for key in ("cifar101", "cifar_p"):
        if config[key] is not None and not user_path(config[key], key=key).is_dir():
            raise ConfigError(f"{key}={config[key]} is not a folder")
    own_dataset = config["run"] is not None and config.get("dataset") is None
    return {**own, **chosen, "weights": config["weights"], "is_own_dataset": own_dataset}


def load_subject(model: Any, subject: Mapping[str, Any]) -> Path:
    """Load the weights of the file, or of the run folder (of its last checkpoint if it has not finished)."""
    from tenet.files.weights import load_weights

    if subject["weights"] is not None:
        path = user_path(subject["weights"], key="weights")
    else:
        path = subject["run_dir"] / WEIGHTS_FILE
        if not path.exists():
            return _load_unfinished(model, subject["run_dir"])
    load_weights(model, path)
    return path


def _load_unfinished(model: Any, run_dir: Path) -> Path:
    from tenet.files.weights import put_weights
    from tenet.training.checkpoint import Checkpoints

    saved = Checkpoints(run_dir).find()
    if saved is None:
        raise ConfigError(f"run={run_dir}: there are no weights and no checkpoint to evaluate")
    logger.warning("%s has not finished: evaluating its last checkpoint", run_dir)
    put_weights(model, saved.content.get("model"), source=saved.path)
    return saved.path


def open_source(
    config: Mapping[str, Any], test: "EvaluationSet", device: Any
) -> "ArchivedCorruptions | GeneratedCorruptions":
    from tenet.corruptions.sources import ArchivedCorruptions, GeneratedCorruptions

    asked = config["corruptions"]
    if asked["root"] is not None:
        return ArchivedCorruptions(asked["root"], classes=test.classes, clean=test.arrays)
    if test.arrays is None:
        raise ConfigError("dataset=folder streams its images: give corruptions.root=DIR (ImageNet-C) with it")
    return GeneratedCorruptions(*test.arrays.to(device), seed=asked["seed"])


def choose_cells(
    config: Mapping[str, Any], source: "ArchivedCorruptions | GeneratedCorruptions"
) -> tuple[list[str], list[int]]:
    """Corruptions, in the benchmark's order, and severities to measure. Raises ConfigError for an unknown name."""
    asked = config["corruptions"]["names"]
    if not config["corruptions"]["severities"]:
        raise ConfigError(
            "corruptions.severities=[]: name at least one; corruptions.names=[] measures clean images alone"
        )
    for name in asked or ():
        if name not in source.names:
            hint = did_you_mean(name, source.names)
            raise ConfigError(
                f"corruptions.names={name}: not there{hint}; there are {', '.join(source.names)}"
            )
    return [name for name in source.names if asked is None or name in asked], sorted(
        set(config["corruptions"]["severities"])
    )


def output_path(
    config: Mapping[str, Any], kind: str, names: Sequence[str], severities: Sequence[int], weights: Path
) -> Path:
    """Where the report goes: generated and official figures, whole sweeps and parts, never under one name."""
    if config["output"] is not None:
        path = user_path(config["output"], key="output")
        if path.suffix != ".json":
            raise ConfigError(f"output={path}: must be a .json file")
        return path
    is_whole = set(CORRUPTIONS) <= set(names) and set(severities) == set(SEVERITIES)
    name = f"corruptions{'-files' if kind == 'files' else ''}{'' if is_whole else '-part'}.json"
    folder = EVALUATION_FOLDER if config["run"] is not None else f"{weights.stem}-evaluation"
    return weights.parent / folder / name
