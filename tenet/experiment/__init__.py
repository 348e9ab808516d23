"""A training run as objects, from its configuration."""

from tenet.experiment.backbone import build_backbone, build_on_meta
from tenet.experiment.checks import try_optimizer
from tenet.experiment.parts import Experiment

__all__ = ["Experiment", "build_backbone", "build_on_meta", "try_optimizer"]
