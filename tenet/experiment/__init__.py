"""A training run as objects, from its configuration."""

from tenet.experiment.backbone import build_backbone, build_on_meta
from tenet.experiment.parts import Experiment, try_optimizer

__all__ = ["Experiment", "build_backbone", "build_on_meta", "try_optimizer"]
