"""What train.py says of a run before it begins."""

import logging
from typing import TYPE_CHECKING

from tenet.evaluation.matching import missing_classes_note

if TYPE_CHECKING:
    from tenet.experiment.parts import Experiment

logger = logging.getLogger("tenet")


def describe_run(experiment: "Experiment") -> str:
    """See `Experiment.describe`."""
    if experiment.inhibited is not None and experiment.inhibited.start_step > experiment.last_step:
        logger.warning(
            "tenet.start_step=%d is beyond the run's last step, %d: all of it will be plain training; lower it",
            experiment.inhibited.start_step,
            experiment.last_step,
        )
    if experiment.last_step > experiment.total_steps:
        logger.warning(
            "the learning-rate schedule spans %d epochs and ends at step %d: the steps up to %d keep its last "
            "learning rate; only a new run can have a longer schedule",
            experiment.settings.schedule_epochs,
            experiment.total_steps,
            experiment.last_step,
        )
    for part, source in {"training": experiment.splits.train, "test": experiment.splits.test}.items():
        if missing := missing_classes_note(source, part=part):
            logger.warning(missing)
    validation = experiment.validation
    if validation is not None and (corrupted := experiment.held_out.corrupted_images):
        logger.info(
            "each evaluation also predicts %s corrupted images (%d corruptions, %s held-out images): as many as %.0f %% "
            "of an epoch; validation.images and validation.severities lower the cost",
            f"{corrupted:,}",
            len(experiment.corrupted_validation),
            f"{min(len(experiment.splits.validation or ()), validation.images):,}",
            100 * corrupted / experiment.loader.samples_per_epoch,
        )
    size = experiment.process_group.size
    where = f"{experiment.device} in {size} processes" if size > 1 else str(experiment.device)
    height, width = experiment.image_shape[1:]
    images, classes = len(experiment.splits.train), len(experiment.splits.classes)
    return f"{where}, {images} training images {width}x{height} in {classes} classes"
