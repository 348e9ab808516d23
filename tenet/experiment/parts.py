"""A training run as objects: every part that a configuration describes, built when it is first asked for.

train.py, the doctor and the benchmarks share it, so that all of them work on the same parts.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from tenet.augment import Augmentation
from tenet.config.build import build, prefix_errors
from tenet.config.identity import fixed_settings
from tenet.data import Dataset, ImageSource, Splits, TrainingLoader
from tenet.device import pick_device
from tenet.distributed import SINGLE_PROCESS, ProcessGroup
from tenet.evaluation.classifier import Classifier
from tenet.experiment.announcement import describe_run
from tenet.experiment.backbone import build_on_meta, check_forward, find_image_shape
from tenet.experiment.checks import check_last_batch, check_parts
from tenet.experiment.cut_table import print_cuts
from tenet.experiment.held_out import HeldOut
from tenet.experiment.initial_weights import compare_normalization, find_saved_weights
from tenet.experiment.method import build_method
from tenet.experiment.validation import CorruptedValidation
from tenet.files.initial_weights import InitialWeights, fit_initial_weights
from tenet.methods import Inhibited, Method
from tenet.mixing import DataFacts, Mixing
from tenet.networks import Layout, Network, compile_network, find_cuts, find_min_batch_size, resolve_cut
from tenet.randomness import derive_seed
from tenet.run.origin import fingerprints
from tenet.run.signals import StopSignals
from tenet.tracking import Tracking
from tenet.training.averaging import WeightAverage
from tenet.training.books import MetricsSink
from tenet.training.checkpoint import Checkpoints
from tenet.training.loop import train
from tenet.training.schedule import Schedule
from tenet.training.settings import TrainingSettings
from tenet.training.state import TrainingState

logger = logging.getLogger("tenet")


class Experiment:
    """The parts of one training run. Each is built once; building one raises ConfigError if the configuration is wrong.

    config: a resolved configuration. process_group: the processes that train together.
    """

    def __init__(self, config: Mapping[str, Any], *, process_group: ProcessGroup = SINGLE_PROCESS) -> None:
        self.config, self.process_group = config, process_group
        self.seed: int = config["seed"]

    def check(self, *, resumes: bool = False) -> None:
        """Raise ConfigError for everything that can be refused before any data is read.

        resumes: whether there is a checkpoint; if so, initial weights are no longer needed.
        """
        check_parts(self, resumes=resumes)

    @cached_property
    def settings(self) -> TrainingSettings:
        return build(self.config["trainer"], key="trainer")

    @cached_property
    def device(self) -> torch.device:
        return pick_device(self.settings.device, key="trainer.device")

    @cached_property
    def dataset(self) -> Dataset:
        return build(self.config["dataset"], key="dataset")

    @cached_property
    def augmentation(self) -> Augmentation:
        augmentation = build(self.config["augment"], key="augment")
        if self.settings.compile and self.device.type == "cuda":
            augmentation.compile()  # on a CPU, compiling it gains nothing (docs/performance.md)
        return augmentation

    @cached_property
    def mixing(self) -> Mixing | None:
        return build(self.config["mixing"], key="mixing")

    @cached_property
    def schedule(self) -> Schedule:
        return build(self.config["schedule"], key="schedule")

    @cached_property
    def validation(self) -> CorruptedValidation | None:
        return build(self.config.get("validation"), key="validation")

    @cached_property
    def tracking(self) -> Tracking:
        return build(self.config["tracking"], key="tracking")

    @cached_property
    def method(self) -> Method:
        return build_method(self.config, process_group=self.process_group)

    @property
    def inhibited(self) -> Inhibited | None:
        """The method, if it inhibits."""
        return self.method if isinstance(self.method, Inhibited) else None

    @cached_property
    def outline(self) -> Network:
        """The network on the meta device: it has shapes and takes no memory."""
        backbone = build_on_meta(self.config["backbone"])
        if self.inhibited is None:
            return self._as_network(backbone)
        shape = find_image_shape(backbone, crop=getattr(self.dataset, "crop", None))
        with prefix_errors("tenet"):
            resolve_cut(backbone, self.inhibited.layer, argument="layer", cuts=find_cuts(backbone, shape))
            outline = self._as_network(backbone)
            self.inhibited.check(outline, shape)
        return outline

    def print_cuts(self) -> None:
        """Print the table of all values of `tenet.layer`."""
        backbone = build_on_meta(self.config["backbone"])
        print_cuts(backbone, find_image_shape(backbone, crop=getattr(self.dataset, "crop", None)))

    @cached_property
    def initial_weights(self) -> InitialWeights | None:
        """The weights that training starts from, read or downloaded; None if it starts at random.

        Raises CheckpointError if they do not fit, ConfigError if they can't be downloaded or the file has changed.
        """
        with self.process_group.rank_zero_first():
            saved = find_saved_weights(self.config["backbone"], self.outline.backbone)
        if saved is None:
            return None
        backbone = self.config["backbone"]
        return fit_initial_weights(
            saved, lambda count: build_on_meta(backbone, num_classes=count), key=backbone.get("weights_key")
        )

    @cached_property
    def splits(self) -> Splits:
        """The data set, read from disk or downloaded by the main process first."""
        with self.process_group.rank_zero_first():
            return self.dataset.load()

    @cached_property
    def network(self) -> Network:
        """On the device, with initial weights that depend on the seed alone."""
        network = self._build_network()
        if self.settings.compile:
            share = self.settings.batch_size // self.process_group.size
            compile_network(network, batch_size=share // self.settings.accumulate)
        return network

    @cached_property
    def average(self) -> WeightAverage | None:
        """The average of the network's weights; None without `ema.decay`.

        It has a network of its own, which is not compiled, so that an evaluation never changes the weights in training.
        """
        decay = build(self.config["ema"], key="ema").decay
        return None if decay is None else WeightAverage(self._build_network(), decay=decay)

    def _build_network(self) -> Network:
        torch.manual_seed(derive_seed(self.seed, "initialisation"))
        backbone = build(self.config["backbone"], num_classes=len(self.splits.classes), key="backbone")
        with prefix_errors("backbone"):
            check_forward(self.outline, self.image_shape)
            min_batch_size = find_min_batch_size(self.outline, self.image_shape)
        if self.settings.sync_batchnorm and self.process_group.size > 1:
            backbone = nn.SyncBatchNorm.convert_sync_batchnorm(backbone)
        return self._as_network(
            backbone.to(self.device),
            classes=self.splits.classes,
            image_size=self.image_shape[1:],
            min_batch_size=min_batch_size,
            layout=self.outline.layout,
        )

    @cached_property
    def optimizer(self) -> Optimizer:
        return self.build_optimizer(self.network.parameters())

    @cached_property
    def loader(self) -> TrainingLoader:
        loader = TrainingLoader(
            self.splits.train.for_training(self.seed).to(self.device),
            augmentation=self.augmentation,
            mixing=self.mixing,
            facts=DataFacts(len(self.splits.classes), tuple(self.dataset.mean)),
            views_together=self.method.views,
            batch_size=self.settings.batch_size,
            seed=self.seed,
            device=self.device,
            rank=self.process_group.rank,
            processes=self.process_group.size,
        )
        check_last_batch(loader, self.network, self.image_shape)
        return loader

    @cached_property
    def classifier(self) -> Classifier:
        return Classifier(self.network, self.settings.evaluation_batch_size, process_group=self.process_group)

    @property
    def held_out(self) -> HeldOut:
        classifiers = {"": self.classifier}
        if self.average is not None:
            classifiers["_ema"] = replace(self.classifier, network=self.average.network)
        return HeldOut(self.splits, classifiers, self.settings.evaluate_images, self.corrupted_validation)

    @cached_property
    def corrupted_validation(self) -> Mapping[str, Sequence[ImageSource]]:
        """Corruption -> the held-out images at each severity; empty unless `validation.corruptions` names any."""
        if self.validation is None or self.splits.validation is None:
            return {}
        return self.validation.cells(self.splits.validation, device=self.device)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 3, *self.splits.train.image_size()

    @property
    def total_steps(self) -> int:
        """The steps that the schedule spans."""
        return self.settings.count_steps(self.loader.steps_per_epoch)[0]

    @property
    def all_steps(self) -> int:
        """The steps of all epochs, even if `trainer.max_steps` ends the run earlier."""
        return self.settings.epochs * self.loader.steps_per_epoch

    @property
    def last_step(self) -> int:
        """The step at which the run ends, after all epochs or `trainer.max_steps`."""
        return self.settings.count_steps(self.loader.steps_per_epoch)[1]

    def describe(self) -> str:
        """Such as `cpu, 1437 training images 32x32 in 10 classes`.

        Warns if no step of the run would be inhibited, and if the run continues after its learning-rate schedule.
        """
        return describe_run(self)

    def checkpoints(self, run_dir: Path, *, check_folder: Callable[[], None] = lambda: None) -> Checkpoints:
        return Checkpoints(
            run_dir,
            writes=self.process_group.is_main_process,
            run=fixed_settings(self.config),
            data=fingerprints(self.splits),
            processes=self.process_group.size,
            any_processes=self.settings.processes == "any",
            check_folder=check_folder,
        )

    def restore(self, checkpoints: Checkpoints) -> TrainingState:
        """The state of the last checkpoint or, if there is none, a new state with the initial weights.

        Raises CheckpointError if the checkpoint or the weights do not fit.
        """
        state = TrainingState.restore(
            self.network,
            self.optimizer,
            self.method,
            checkpoints=checkpoints,
            average=self.average,
            process_group=self.process_group,
        )
        if state.resumed_at is None and self.initial_weights is not None:
            self.initial_weights.load(self.network.backbone, classes=self.splits.classes)
            compare_normalization(self.initial_weights.saved, mean=self.dataset.mean, std=self.dataset.std)
            if self.average is not None:
                self.average.network.backbone.load_state_dict(self.network.backbone.state_dict())
        return state

    def train(
        self,
        state: TrainingState,
        *,
        checkpoints: Checkpoints,
        tracker: MetricsSink,
        stop: StopSignals | None = None,
    ) -> None:
        """Train from `state` to the end, and evaluate on the held-out images after epochs."""
        stop = stop or StopSignals()
        if self.process_group.size > 1:
            # A signal to one process ends the evaluation of all of them.
            self.classifier = replace(
                self.classifier,
                before_batch=lambda: stop.adopt(*self.process_group.all_reduce_max(stop.received)),
            )
        held_out = self.held_out
        train(
            state,
            loader=self.loader,
            schedule=self.schedule,
            settings=self.settings,
            evaluate=lambda: held_out.evaluate_during_training(is_last=state.step == self.last_step),
            evaluated_images=held_out.count_predictions(),
            tracker=tracker,
            checkpoints=checkpoints,
            seed=self.seed,
            process_group=self.process_group,
            stop=stop,
        )

    def _as_network(self, backbone: nn.Module, *, min_batch_size: int = 1, **about_data: Any) -> Network:
        with prefix_errors("tenet"):
            layer = None if self.inhibited is None else self.inhibited.layer
            cut = None if layer is None else resolve_cut(backbone, layer, argument="layer")
            if self.inhibited is not None:
                about_data.setdefault("layout", Layout.parse(self.inhibited.layout))
            return Network(
                backbone,
                mean=self.dataset.mean,
                std=self.dataset.std,
                cut=cut,
                precision=self.settings.precision,
                channels_last=self.settings.channels_last,
                min_batch_size=min_batch_size,
                **about_data,
            ).to(next(backbone.parameters()).device)

    def build_optimizer(self, parameters: Any) -> Optimizer:
        """A new optimizer, as the configuration has it."""
        return build(self.config["optimizer"], parameters, key="optimizer")
