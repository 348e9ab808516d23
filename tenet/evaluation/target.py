"""What is evaluated: weights, with the data set and the backbone that they belong to."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenet import __version__
from tenet.config.build import build
from tenet.config.run_config import read_config
from tenet.errors import ConfigError
from tenet.files.names import EVALUATION_FOLDER, WEIGHTS_FILE
from tenet.files.paths import user_path
from tenet.files.plain import sha256_of

if TYPE_CHECKING:
    import torch

    from tenet.data import Dataset
    from tenet.evaluation.robustbench import Model
    from tenet.networks import Network

logger = logging.getLogger("tenet")


@dataclass(frozen=True)
class EvaluationTarget:
    """What is evaluated, and how its network is built.

    weights: the file. run_dir: the run folder that holds it; None for a file of weights alone.
    dataset, backbone, tracking: configurations. has_own_dataset: whether the data set is the run's own.
    precision, channels_last: as in `Network`.
    """

    weights: Path
    dataset: Mapping[str, Any]
    backbone: Mapping[str, Any]
    tracking: Mapping[str, Any] | None = None
    run_dir: Path | None = None
    has_own_dataset: bool = False
    precision: str = "fp32"
    channels_last: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "EvaluationTarget":
        """The run folder, or the file of weights, that evaluate.py was asked for.

        Raises ConfigError unless there is exactly one of them, with a data set, a backbone and weights.
        """
        if (config["run"] is None) == (config["weights"] is None):
            raise ConfigError("give run=RUN_DIR, or weights=FILE with backbone= and dataset= (see --help)")
        own: Mapping[str, Any] = {}
        run_dir = None if config["run"] is None else user_path(config["run"], key="run")
        if run_dir is not None:
            own = read_config(run_dir)
            weights = find_weights(run_dir)
        else:
            weights = user_path(config["weights"], key="weights")
            if not weights.is_file():
                raise ConfigError(f"weights={config['weights']} is not a file")
        names = ("dataset", "backbone", "tracking")
        parts: dict[str, Any] = {name: config.get(name) or own.get(name) for name in names}
        for name in ("dataset", "backbone"):
            if not parts[name]:
                raise ConfigError(f"weights={config['weights']} also needs {name}=OPTION (see --help)")
        channels_last = config["channels_last"]
        if channels_last is None:
            channels_last = own.get("trainer", {}).get("channels_last", False)
        return cls(
            weights,
            **parts,
            run_dir=run_dir,
            has_own_dataset=run_dir is not None and config.get("dataset") is None,
            precision=config["precision"],
            channels_last=channels_last,
        )

    @cached_property
    def weights_sha256(self) -> str:
        return sha256_of(self.weights)

    @cached_property
    def data(self) -> "Dataset":
        return build(self.dataset, key="dataset")

    @property
    def model(self) -> "Model":
        from tenet.evaluation.robustbench import Model

        return Model(
            name=self.weights.stem if self.run_dir is None else self.run_dir.resolve().name,
            dataset=self.dataset.get("name") or self.dataset["_target_"].rpartition(".")[2].lower(),
            architecture=self.backbone["_target_"].rpartition(".")[2],
        )

    def load_network(self, *, num_classes: int, device: "torch.device") -> "Network":
        """The network with its weights, on the device. Raises CheckpointError if the weights do not fit."""
        from tenet.experiment import build_backbone
        from tenet.files.weights import load_weights
        from tenet.networks import Network

        backbone = build_backbone(self.backbone, num_classes=num_classes)
        known = self.weights_sha256
        load_weights(backbone, self.weights)
        if sha256_of(self.weights) != known:
            raise ConfigError(f"{self.weights} was replaced while it was read: is the run still training?")
        return Network(
            backbone,
            mean=self.data.mean,
            std=self.data.std,
            precision=self.precision,
            channels_last=self.channels_last,
        ).to(device)

    def about(self) -> dict[str, Any]:
        """The target, for the JSON report."""
        return {
            "tenet_version": __version__,
            "weights": str(self.weights),
            "weights_sha256": self.weights_sha256,
            "dataset": self.dataset,
            "backbone": self.backbone,
        }

    def identity(self, *, device: "torch.device", batch_size: int) -> dict[str, Any]:
        """Everything besides the images that predictions depend on."""
        return {
            "version": __version__,
            "weights": self.weights_sha256,
            "backbone": self.backbone,
            "normalization": [list(self.data.mean), list(self.data.std)],
            "arithmetic": [device.type, self.precision, self.channels_last, batch_size],
        }

    def report_path(self, output: str | None, *, marks: Sequence[str]) -> Path:
        """`output`; by default a file in a folder next to the weights, whose name contains the marks of the suites.

        So figures of official files, of generated corruptions and of a part of the cells never share a name.
        """
        if output is None:
            folder = EVALUATION_FOLDER if self.run_dir else f"{self.weights.stem}-evaluation"
            return self.weights.parent / folder / f"{'-'.join(['corruptions', *marks])}.json"
        path = user_path(output, key="output")
        if path.suffix != ".json":
            raise ConfigError(f"output={path}: must be a .json file")
        return path


def find_weights(run_dir: Path) -> Path:
    """The weights of a finished run, or the last whole checkpoint of an unfinished one, with a warning.

    Raises ConfigError if there is neither, CheckpointError if no checkpoint is whole.
    """
    if (path := run_dir / WEIGHTS_FILE).exists():
        return path
    from tenet.training.checkpoint import Checkpoints

    saved = Checkpoints(run_dir).find()
    if saved is None:
        raise ConfigError(f"run={run_dir}: there are no weights and no checkpoint to evaluate")
    logger.warning("%s has not finished: evaluating its last checkpoint", run_dir)
    return saved.path
