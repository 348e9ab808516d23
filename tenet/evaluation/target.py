"""What is evaluated: weights, and the data set and the backbone that belong to them."""

import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenet import __version__
from tenet.config.build import build
from tenet.config.options import method_of
from tenet.config.run_config import read_config
from tenet.errors import ConfigError
from tenet.evaluation.preparation import Preparation
from tenet.evaluation.reports import CLEAN, as_mapping, path_name, settings_of_test_set
from tenet.files.interface import Interface
from tenet.files.json import read_json
from tenet.files.names import (
    AVERAGED_KEY,
    AVERAGED_WEIGHTS_FILE,
    EVALUATION_FOLDER,
    ORIGIN_FILE,
    TOP_LEVEL_KEY,
)
from tenet.files.paths import user_path
from tenet.files.plain import check_own, sha256_of
from tenet.run.weights import find_weights

if TYPE_CHECKING:
    import torch

    from tenet.data import Dataset
    from tenet.evaluation.measurement import Measurement
    from tenet.evaluation.robustbench import Model
    from tenet.evaluation.suites.suite import Suite
    from tenet.files.weights import SavedWeights
    from tenet.networks import Network

logger = logging.getLogger("tenet")

# Folders that are named after a split, not after the data set.
SPLITS = ("test", "train", "val", "valid", "validation")


@dataclass(frozen=True)
class EvaluationTarget:
    """What is evaluated, and how its network is built.

    weights: the file. weights_key: the key of the weights in the file; None: they are found by their names. is_average:
    whether they are a run's averaged weights.
    run_dir: the run folder that holds the file; None for a file of weights alone.
    dataset, backbone, tracking: configurations. own_dataset: the run's own configuration of its data set;
    has_own_dataset: whether `dataset` has the same test set, by its settings.
    typed: the keys that the user typed. Only these change how images are prepared: choosing `dataset=OPTION` does not.
    precision, channels_last: as in `Network`.
    """

    weights: Path
    dataset: Mapping[str, Any]
    backbone: Mapping[str, Any]
    tracking: Mapping[str, Any] | None = None
    run_dir: Path | None = None
    has_own_dataset: bool = False
    own_dataset: Mapping[str, Any] | None = None
    typed: Container[str] = ()
    weights_key: str | None = None
    is_average: bool = False
    precision: str = "fp32"
    channels_last: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, typed: Container[str] = ()) -> "EvaluationTarget":
        """The run folder, or the file of weights, that evaluate.py's configuration names. typed: the keys that were typed.

        Raises ConfigError unless exactly one of them is given, and if a data set, a backbone or the weights are missing.
        """
        if (config["run"] is None) == (config["weights"] is None):
            raise ConfigError("give run=RUN_DIR, or weights=FILE with backbone= and dataset= (see --help)")
        own: Mapping[str, Any] = {}
        key, is_average = config.get("weights_key"), False
        run_dir = None if config["run"] is None else user_path(config["run"], key="run")
        if run_dir is not None:
            own = read_config(run_dir)
            is_average = key == AVERAGED_KEY
            weights = find_weights(run_dir, averaged=is_average)
            if weights.name == AVERAGED_WEIGHTS_FILE:
                key = None  # the file holds nothing else
        else:
            weights = user_path(config["weights"], key="weights")
            if not weights.is_file():
                raise ConfigError(f"weights={config['weights']} is not a file")
        names = ("dataset", "backbone", "tracking")
        parts: dict[str, Any] = {name: config.get(name) or own.get(name) for name in names}
        for name in ("dataset", "backbone"):
            if not parts[name]:
                raise ConfigError(f"weights={config['weights']} also needs {name}=OPTION (see --help)")
        parts["tracking"] = _keep_untyped(parts["tracking"], own.get("tracking"), typed, group="tracking")
        channels_last = config["channels_last"]
        if channels_last is None:
            channels_last = own.get("trainer", {}).get("channels_last", False)
        return cls(
            weights,
            **parts,
            run_dir=run_dir,
            has_own_dataset=run_dir is not None
            and settings_of_test_set(parts["dataset"]) == settings_of_test_set(own["dataset"]),
            own_dataset=own.get("dataset"),
            typed=typed,
            weights_key=key,
            is_average=is_average,
            precision=config["precision"],
            channels_last=channels_last,
        )

    @cached_property
    def weights_sha256(self) -> str:
        return sha256_of(self.weights)

    @cached_property
    def saved(self) -> "SavedWeights":
        """The content of the file. Raises CheckpointError if it can't be read."""
        from tenet.files.weights import read_weights

        known = self.weights_sha256
        saved = read_weights(self.weights)
        if sha256_of(self.weights) != known:
            raise ConfigError(f"{self.weights} was replaced while it was read: is the run still training?")
        return saved

    @cached_property
    def preparation(self) -> Preparation:
        saved = self.saved
        return Preparation(
            self.weights, saved.interface, as_mapping(saved.model), self.dataset, self.own_dataset, self.typed
        )

    @property
    def interface(self) -> Interface:
        return self.preparation.interface

    @cached_property
    def data(self) -> "Dataset":
        return build(self.preparation.dataset_config, key="dataset")

    @cached_property
    def model(self) -> "Model":
        from tenet.evaluation.robustbench import Model
        from tenet.experiment import build_on_meta

        outline = build_on_meta(self.backbone)
        return Model(
            name=self.weights.stem if self.run_dir is None else self.run_dir.resolve().name,
            dataset=_name_of(self.dataset),
            architecture=getattr(outline, "architecture", type(outline).__name__),
            method="" if self.run_dir is None else method_of(read_config(self.run_dir)),
        )

    def load_network(self, *, classes: Sequence[str], device: "torch.device") -> "Network":
        """The network with its weights, on the device.

        classes: those of the data set, for a file that does not name the network's; a message says so.
        Raises CheckpointError if the weights do not fit.
        """
        from tenet.evaluation.matching import some_names
        from tenet.experiment import build_backbone
        from tenet.files.weights import load_weights
        from tenet.networks import Network

        interface = self.interface
        if not interface.classes:
            logger.warning(
                "%s does not name its classes: assuming the data set's, in this order: %s",
                self.weights, some_names(classes),
            )  # fmt: skip
            interface = interface._replace(classes=tuple(classes))
        backbone = build_backbone(self.backbone, num_classes=len(interface.classes))
        load_weights(backbone, self.saved, key=self.weights_key)
        if others := self._trained_backbone():
            logger.warning(
                "%s was trained with %s; its weights also fit this network, but the figures may differ",
                self.weights, ", ".join(f"backbone.{name}={value}" for name, value in others.items()),
            )  # fmt: skip
        return Network(
            backbone, **interface._asdict(), precision=self.precision, channels_last=self.channels_last
        ).to(device)

    def _trained_backbone(self) -> dict[str, Any]:
        """The settings of the backbone with which the weights were trained, where they differ from `self.backbone`.

        The tensors do not show all of them: a stem with another stride has the same weights.
        """
        from tenet.config.build import INITIAL_WEIGHTS

        trained = as_mapping(as_mapping(self.saved.model).get("backbone"))
        names = (trained.keys() | self.backbone.keys()).difference(INITIAL_WEIGHTS) if trained else ()
        return {
            name: trained.get(name) for name in sorted(names) if trained.get(name) != self.backbone.get(name)
        }

    def about(self) -> dict[str, Any]:
        """The target, for the JSON report."""
        return {
            "tenet_version": __version__,
            "weights": str(self.weights),
            "weights_sha256": self.weights_sha256,
            **({} if self.weights_key is None else {"weights_key": self.weights_key}),
            "dataset": self.preparation.dataset_config,
            "backbone": self.backbone,
        }

    def identity(self, *, device: "torch.device", batch_size: int) -> dict[str, Any]:
        """Everything except the images that predictions depend on."""
        return {
            "version": __version__,
            "weights": self.weights_sha256,
            "backbone": self.backbone,
            "weights_key": self.weights_key,
            "normalization": [list(self.interface.mean), list(self.interface.std)],
            "classes": list(self.interface.classes),
            "arithmetic": [device.type, self.precision, self.channels_last, batch_size],
        }

    def measurement(self, suites: "Sequence[Suite]") -> "Measurement":
        """What a report of these suites measures.

        Whether the test images are the run's own is decided by the fingerprint that the run recorded, or else by settings.
        """
        from tenet.evaluation.measurement import Measurement

        found = Measurement(
            place=self.run_dir or self.weights,
            weights_sha256=self.weights_sha256,
            dataset=self.dataset,
            precision=self.precision,
            suites=suites,
            is_run=self.run_dir is not None,
            is_own_data=self.has_own_dataset,
            is_average=self.is_average,
            normalization=[list(self.interface.mean), list(self.interface.std)],
            is_own_normalization=self.preparation.is_own_normalization,
        )
        if self.run_dir is None:
            return found
        data = as_mapping(read_json(self.run_dir / ORIGIN_FILE).get("data"))
        own = data.get("test")
        return found if own is None else replace(found, is_own_data=found.parts[CLEAN]["fingerprint"] == own)

    def report_path(self, output: str | None, *, marks: Sequence[str]) -> Path:
        """`output`; by default a file in a folder next to the weights, whose name contains the marks of the suites.

        So reports on official files, on generated corruptions and on some of the cells have different names.
        """
        if output is None:
            names = {None: "", TOP_LEVEL_KEY: "-top-level"}
            key = names.get(self.weights_key, f"-{self.weights_key}")
            folder = EVALUATION_FOLDER if self.run_dir else f"{self.weights.stem}{key}-evaluation"
            check_own(self.weights.parent / folder)
            return self.weights.parent / folder / path_name(marks)
        path = user_path(output, key="output")
        if path.suffix != ".json":
            raise ConfigError(f"output={path}: must be a .json file")
        return path


def _keep_untyped(
    option: Mapping[str, Any] | None, own: Mapping[str, Any] | None, typed: Container[str], *, group: str
) -> Mapping[str, Any] | None:
    """The option, with the run's own values of the keys that were not typed, if both are of the same class."""
    if not option or not own or option.get("_target_") != own.get("_target_"):
        return option
    return {
        name: value if f"{group}.{name}" in typed else own.get(name, value) for name, value in option.items()
    }


def _name_of(dataset: Mapping[str, Any]) -> str:
    """The data set's own name, that of its file or folder, or that of its class."""
    if "path" in dataset:
        path = Path(dataset["path"])
        return (
            path.parent.name if path.name in SPLITS and path.parent.name else path.name.removesuffix(".npz")
        )
    return dataset.get("name") or dataset["_target_"].rpartition(".")[2].lower()
