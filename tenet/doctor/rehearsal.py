"""Training steps of a planned run, taken apart from it: what memory and time are measured on."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tenet.doctor.plan import Plan
from tenet.errors import NonFiniteLossError
from tenet.evaluation.classifier import Classifier
from tenet.inhibition import Inhibition
from tenet.training.loop import autocast, prepare
from tenet.training.optimizer import Guard
from tenet.training.settings import TrainingSettings

PLAIN, INHIBITED = "plain step", "inhibited step"


def refuse(name: str, loss: Tensor) -> None:
    raise NonFiniteLossError(
        f"the {name} of a first step is not finite; look at the images and their normalisation"
    )


class Rehearsal:
    """Model, optimizer and inhibition of a plan, for the two steps and the evaluation, as `train` takes them.

    The learning rate is 0, which costs as much as any other: no loss can leave the finite numbers. Every
    sample counts as right, as late in training, when an inhibited step costs most.
    """

    def __init__(self, plan: Plan) -> None:
        self.settings: TrainingSettings = plan.build("trainer")
        self.inhibition: Inhibition | None = plan.build("tenet")
        self.device = plan.device
        network = plan.build("backbone", num_classes=len(plan.splits.classes)).to(self.device).train()
        self.model = prepare(network, self.settings)
        self.optimizer = plan.build("optimizer", self.model.parameters())
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0
        self.guard = Guard(self.model, refuse=refuse, skips=self.settings.on_nonfinite == "skip")
        self.classifier = Classifier(
            self.model,
            plan.build("dataset").normalization,
            self.settings.evaluation_batch_size,
            self.settings.precision,
            self.settings.channels_last,
        )

    def plain(self, images: Tensor, labels: Tensor) -> None:
        images = self._laid_out(images)
        self.guard.remember()
        with autocast(self.device, self.settings.precision):
            loss = F.cross_entropy(self.model(images), labels)
        self.guard.descend(self.optimizer, loss)

    def inhibited(self, images: Tensor, labels: Tensor) -> None:
        assert self.inhibition is not None
        images = self._laid_out(images)
        self.guard.remember()
        with autocast(self.device, self.settings.precision):
            loss = self.inhibition.step(self.model, images, labels).loss
        self.guard.descend(self.optimizer, loss)

    def evaluate(self, images: Tensor, labels: Tensor) -> None:
        """images: uint8 [image, h, w, 3], in one batch."""
        self.classifier.predict([(images, labels)])

    def steps(self) -> dict[str, Callable[[Tensor, Tensor], None]]:
        """The steps that training takes, by name."""
        if self.inhibition is None:
            return {PLAIN: self.plain}
        return {PLAIN: self.plain, INHIBITED: self.inhibited}

    def _laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last) if self.settings.channels_last else images

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
