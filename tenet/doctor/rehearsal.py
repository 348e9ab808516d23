"""Training steps of a planned run, for measuring memory and time."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from tenet.errors import NonFiniteLossError
from tenet.experiment import Experiment
from tenet.methods import Batch, Composed, Draw, Method, Update, seed_global_generators
from tenet.training.optimizer import GuardedOptimizer

PLAIN, INHIBITED = "plain step", "inhibited step"


class AllRight(Composed):
    """Counts every prediction as right, also of images made worse: inhibited updates then cost most."""

    def updates(self, network: nn.Module, batch: Batch) -> Iterator[Update]:
        for update in self.method.updates(network, batch):
            if update.correct is not None:
                update.correct = torch.ones_like(update.correct)
            yield update


class Rehearsal:
    """Takes the steps of an experiment's method at learning rate 0, which costs as much as any other."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.optimizer = GuardedOptimizer(
            experiment.optimizer,
            experiment.network,
            on_nonfinite=refuse,
            skips=experiment.settings.on_nonfinite == "skip",
            clip_norm=experiment.settings.clip_norm,
        )
        self.optimizer.scale_learning_rates(0.0)
        self.average = experiment.average
        self.method: Method = experiment.method
        if experiment.inhibited is not None:
            self.method = replace(experiment.inhibited, method=AllRight(method=experiment.inhibited.method))

    def make_costly(self, batch: Batch) -> Batch:
        """The batch as it would be late in training, when it costs most: an inhibited step is due, and every sample
        counts as right, because its label is what the network predicts."""
        inhibited = self.experiment.inhibited
        if inhibited is not None:
            first_due = inhibited.interval * max(1, math.ceil(inhibited.start_step / inhibited.interval))
            batch = replace(batch, step=first_due)
        seed_global_generators(batch.images.device, seed=self.experiment.seed, step=batch.step)
        with torch.no_grad():
            # In train mode, as in the step that follows: the same weights and images lead to the same logits.
            logits = self.experiment.network.train()(batch.images)[: len(batch.labels)]
        return replace(batch, labels=self.experiment.method.labels.predicted(logits), targets=None)

    def random_batch(self, size: int) -> Batch:
        """A costly batch of random images, of `size` samples."""
        device, views = self.experiment.device, self.experiment.method.views
        images = torch.rand(views * size, *self.experiment.image_shape, device=device)
        labels = torch.zeros(size, dtype=torch.int64, device=device)
        return self.make_costly(
            Batch(images=images, labels=labels, step=1, draw=Draw(device, seed=0, step=1), views=views)
        )

    def steps(self, batch: Batch) -> Iterator[str]:
        """Take the optimizer steps of one iteration; yield the name of each when it has been taken.

        An iteration may have several of one name, such as the replays of free adversarial training.
        """
        seed_global_generators(batch.images.device, seed=self.experiment.seed, step=batch.step)
        for update in self.method.updates(self.experiment.network, batch):
            self.optimizer.step(update)
            if self.average is not None:  # in training once, after the last update
                self.average.update(self.experiment.network, step=batch.step)
            yield INHIBITED if update.name == "inhibited loss" else PLAIN


def refuse(update: Update) -> None:
    raise NonFiniteLossError(
        f"the {update.name} of a first step is not finite; check the images and their normalisation"
    )
