"""Tiny training runs through the real loop."""

import torch
from torch.nn import functional as F

from tenet.methods import Batch, CrossEntropy, Draw, Inhibited
from tenet.networks import Network, ResNet
from tenet.randomness import make_generator
from tenet.tracking import Tracker
from tenet.training.checkpoint import Checkpoints
from tenet.training.loop import train
from tenet.training.schedule import Cosine, Span
from tenet.training.settings import TrainingSettings
from tenet.training.state import TrainingState
from tests.reference.inhibited_step import inhibited_loss

STEPS_PER_EPOCH = 6


class FixedLoader:
    """Six batches an epoch, made from (epoch, step)."""

    steps_per_epoch = STEPS_PER_EPOCH

    def __init__(self, *, bad_step=None, batch_size=8):
        self.bad_step, self.batch_size = bad_step, batch_size

    def epoch(self, epoch, *, start=0):
        for index in range(start, STEPS_PER_EPOCH):
            step = epoch * STEPS_PER_EPOCH + index + 1
            generator = make_generator("cpu", seed=0, purpose="test", step=step - 1)
            labels = torch.randint(3, (self.batch_size,), generator=generator)
            images = torch.randn(self.batch_size, 3, 8, 8, generator=generator) + labels[:, None, None, None]
            if step == self.bad_step:
                images[0] = torch.nan
            yield Batch(images=images, labels=labels, step=step, draw=Draw("cpu", seed=7, step=step))


def make_backbone():
    torch.manual_seed(0)
    return ResNet(num_classes=3, depth=8, width=4)


def inhibited(**settings):
    defaults = {"layer": "stage_2", "groups": 3, "interval": 2, "start_step": 3}
    return Inhibited(method=CrossEntropy(), **{**defaults, **settings})


def run(
    folder,
    *,
    backbone=None,
    network=None,
    cut="stage_2",
    method=None,
    loader=None,
    lr=0.05,
    schedule=None,
    optimizer=None,
    evaluate=lambda: {"test/error_pct": 50.0},
    min_batch_size=1,
    stop=None,
    compiles=None,
    average=None,
    **settings,
):
    """Train, from the folder's checkpoint if there is one, and return the final state."""
    settings = TrainingSettings(**{"epochs": 3, "log_every_steps": 4, **settings})
    network = network or Network(
        backbone or make_backbone(),
        cut=cut,
        precision=settings.precision,
        channels_last=settings.channels_last,
        min_batch_size=min_batch_size,
    )
    if compiles is not None:
        compiles(network)
    optimizer = optimizer or torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, nesterov=True)
    checkpoints = Checkpoints(folder)
    state = TrainingState.restore(
        network, optimizer, method or inhibited(), checkpoints=checkpoints, average=average
    )
    with Tracker(folder) as tracker:
        train(
            state,
            loader=loader or FixedLoader(),
            schedule=schedule or Cosine(),
            settings=settings,
            evaluate=evaluate,
            stop=stop,
            tracker=tracker,
            checkpoints=checkpoints,
            seed=7,
        )
    return state


def assert_same_weights(network, other):
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def train_by_hand(*, without=(), without_inhibited=()):
    """The nine steps written out, except some iterations and the inhibited steps of some others; returns the backbone
    and the number of inhibited steps."""
    model, settings = make_backbone(), inhibited()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    inhibited_steps = 0
    for epoch in range(3):
        for batch in FixedLoader().epoch(epoch):
            if batch.step in without:
                continue
            images, labels = (batch.images - 0.5) / 0.5, batch.labels
            optimizer.param_groups[0]["lr"] = 0.05 * Cosine()(batch.step - 1, Span(18, 6))
            model.train()
            logits = model(images)
            optimizer.zero_grad()
            F.cross_entropy(logits, labels).backward()
            optimizer.step()
            right = logits.argmax(1) == labels
            is_due = batch.step >= 3 and batch.step % 2 == 0 and batch.step not in without_inhibited
            if is_due and right.any():
                generator = make_generator("cpu", seed=7, purpose="medoids", step=batch.step)
                loss = inhibited_loss(
                    model, images[right], labels[right], settings=settings, generator=generator
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                inhibited_steps += 1
    return model, inhibited_steps
