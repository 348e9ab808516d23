"""What train.py refuses, most of it before it reads any data."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer

from tenet.augment.pictures import check_pictures
from tenet.config.build import prefix_errors
from tenet.data import TrainingLoader
from tenet.device import set_determinism
from tenet.errors import ConfigError
from tenet.experiment.combinations import check_combination
from tenet.networks import Network

if TYPE_CHECKING:
    from tenet.experiment.parts import Experiment


def check_parts(experiment: "Experiment", *, resumes: bool) -> None:
    """See `Experiment.check`."""
    set_determinism(experiment.settings.deterministic)  # before anything starts CUDA
    # Building a part checks it.
    for part in (
        "device",
        "dataset",
        "validation",
        "augmentation",
        "mixing",
        "schedule",
        "method",
        "outline",
    ):
        getattr(experiment, part)
    if not any(parameter.requires_grad for parameter in experiment.outline.parameters()):
        raise ConfigError(
            "backbone: all of its parameters have requires_grad=False, so there is nothing to train"
        )
    _check_momentum(experiment)
    _check_validation(experiment)
    check_combination(
        experiment.method,
        experiment.augmentation,
        experiment.mixing,
        multi_label=experiment.dataset.multi_label,
    )
    for group in ("augment", "mixing"):
        check_pictures(experiment.config[group].get("pictures"), group=group)
    experiment.tracking.check()
    if not resumes:
        experiment.initial_weights  # noqa: B018 (finding them checks that they fit)
    with prefix_errors("optimizer"):
        try_optimizer(experiment.build_optimizer, experiment.device)
    if experiment.settings.sync_batchnorm and experiment.device.type != "cuda":
        raise ConfigError(
            "trainer.sync_batchnorm=true: torch synchronises BatchNorm on CUDA devices alone; leave it out"
        )
    if experiment.settings.batch_size < experiment.process_group.size:
        raise ConfigError(
            f"trainer.batch_size={experiment.settings.batch_size} is shared by {experiment.process_group.size} processes; "
            "raise it"
        )


def _check_momentum(experiment: "Experiment") -> None:
    if experiment.schedule.sets_momentum:
        defaults = experiment.build_optimizer([torch.zeros(1, requires_grad=True)]).defaults
        if not {"momentum", "betas"} & defaults.keys():
            raise ConfigError(
                "schedule.cycle_momentum=true: the chosen optimizer has neither momentum nor betas; choose "
                "another, or schedule.cycle_momentum=false"
            )


def _check_validation(experiment: "Experiment") -> None:
    if experiment.validation is not None and not experiment.dataset.validation_fraction:
        names = ", ".join(experiment.validation.corruptions or ())
        raise ConfigError(
            f"validation.corruptions=[{names}]: no images are held out; set dataset.validation_fraction=0.1 (never "
            "choose by the test set)"
        )


def check_last_batch(loader: TrainingLoader, network: Network, image_shape: tuple[int, int, int]) -> None:
    """Raise ConfigError if a process's share of an epoch's last batch is too small for a forward in train mode."""
    last_batch = loader.samples_per_epoch % loader.batch_size or loader.batch_size
    if max(1, last_batch // loader.processes) < network.min_batch_size(image_shape):
        raise ConfigError(
            f"trainer.batch_size={loader.batch_size}: the last batch of an epoch of "
            f"{loader.samples_per_epoch} images leaves a process with one image, and BatchNorm can't normalise its 1x1 "
            "maps; choose another"
        )


def try_optimizer(build_optimizer: Callable[[list[Tensor]], Optimizer], device: torch.device) -> None:
    """Raise ValueError unless the optimizer can take a step on this device."""
    parameter = torch.zeros(2, 2, device=device, requires_grad=True)
    try:
        optimizer = build_optimizer([parameter])
        parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    except ConfigError:
        raise
    except Exception as error:  # optimizers refuse with TypeError, RuntimeError, AssertionError, ...
        raise ValueError(f"it can't take a step ({str(error).splitlines()[0]})") from error
