"""The base classes of training methods, and the batches and updates that they turn into each other."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tenet.distributed import ProcessGroup
from tenet.methods.labels import SINGLE_LABEL, LabelKind
from tenet.randomness import derive_seed, make_generator


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one iteration trains on.

    images: float32 [views * batch, 3, h, w] in [0, 1]; the first `batch` of them are the first view of each sample.
    labels: int64 [batch]; where samples were mixed, the class of the larger share. Multi-label: int8 [batch, class], 1
        present, 0 absent, -1 not counted.
    step: the iteration, counted from 1.
    draw: returns a generator on the images' device for one purpose, which depends on the seed, the step and the
        process alone (see `Draw`).
    targets: float32 [batch, class], the share of each class, where samples were mixed; None: the labels.
    views: how many images of each sample there are.
    part: the number of this part, from 1, if the batch is computed in parts (see `tenet.training.accumulation`); None for a
        whole batch.
    start: how many samples of the whole batch come before those of this part.
    """

    images: Tensor
    labels: Tensor
    step: int
    draw: Callable[[str], torch.Generator]
    targets: Tensor | None = None
    views: int = 1
    part: int | None = None
    start: int = 0

    @property
    def hard_or_soft_targets(self) -> Tensor:
        """The targets of the loss for one view: the shares of the classes where samples were mixed, else the labels."""
        return self.labels if self.targets is None else self.targets

    @property
    def targets_of_views(self) -> Tensor:
        """The labels, or the shares of the classes, of every image."""
        return torch.cat([self.hard_or_soft_targets] * self.views)

    def is_correct(self, logits: Tensor) -> Tensor:
        """Whether the prediction for each sample's first view is its label: bool [batch].

        logits: [views * batch, class], or of the first view alone.
        """
        return logits[: len(self.labels)].argmax(dim=1) == self.labels


class Draw:
    """The random generators of one iteration in one process: `draw("medoids")` returns the one for this purpose."""

    def __init__(self, device: torch.device | str, *, seed: int, step: int, rank: int = 0) -> None:
        self.device, self.seed, self.step, self.rank = device, seed, step, rank

    def __call__(self, purpose: str) -> torch.Generator:
        return make_generator(self.device, seed=self.seed, purpose=purpose, step=self.step, rank=self.rank)


def seed_global_generators(device: torch.device, *, seed: int, step: int, rank: int = 0) -> None:
    """Seed torch's own generators, from which layers such as dropout draw, for one iteration of one process.

    A resumed run then draws what an uninterrupted one would have drawn, without any random state to save.
    """
    derived = derive_seed(seed, "layers", step=step, rank=rank)
    # Not torch.manual_seed: it also seeds the devices that are not in use, which takes milliseconds.
    torch.default_generator.manual_seed(derived)
    if device.type == "cuda":
        torch.cuda.manual_seed(derived)


@dataclass(kw_only=True)
class Update:
    """One step of the optimizer.

    loss: a scalar, the mean over `samples` samples of this process. There may be 0 samples, if this process, or this part
        of a batch, only takes part in a step of the others. A multi-label loss may be a mean over entries of the labels:
        `samples` is then their number, an integer on the device.
    terms: metric name (the loop adds `train/`) -> mean over the same samples, without gradient.
    batch: what the loss was computed on.
    correct: bool, of the shape of the batch's labels: which predictions were right. They enter the training error, and
        an inhibited update may follow. None: the update has no training error, and no inhibited update follows.
    counted: bool, of the same shape: which of them enter the training error; None: all.
    name: the name of the loss in messages.

    The loop fills in the rest once the step is taken: `gradient_norm`, or `is_refused` if the loss or its gradient was not
    finite, or `is_empty` if no process had a sample; the weights are then left unchanged. It also scales the terms by this
    process's share of all samples.
    """

    loss: Tensor
    batch: Batch
    samples: int | Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    correct: Tensor | None = None
    counted: Tensor | None = None
    name: str = "loss"
    gradient_norm: Tensor | None = None
    is_refused: bool = False
    is_empty: bool = False

    def backward(self, process_group: ProcessGroup) -> Tensor:
        """Compute the gradients; return the loss without its graph.

        The loss and the terms are scaled so that their mean over the processes is the mean over all samples.
        """
        scale = process_group.loss_scale(self.samples, self.loss.device)
        loss, self.loss = self.loss * scale, self.loss.detach()
        self.terms = {name: term * scale for name, term in self.terms.items()}
        loss.backward()
        return loss.detach()


class Method(ABC):
    """How a batch becomes updates of the network."""

    views = 1
    """The views of each sample that a batch must hold together; 1: views are samples of their own."""
    labels: LabelKind = SINGLE_LABEL
    """The kind of label that the method trains on."""
    forwards: int = 1
    """Forward passes of each image in an iteration, without those of inhibited updates."""

    @abstractmethod
    def updates(self, network: nn.Module, batch: Batch) -> Iterator[Update]:
        """Yield one update after another; after each yield the optimizer has taken that step.

        network: a `Network`, or its DistributedDataParallel wrapper, in train mode. Every loss must come from a
        forward of `network` itself, and with several processes all of them must yield the same number of updates.
        """

    def counters(self) -> dict[str, int]:
        """Counts since the start of training, by metric name. They are logged and saved in checkpoints."""
        return {}

    def restore_counters(self, counters: dict[str, int]) -> None:
        """Continue from the counts that a checkpoint holds."""
        return

    def state(self) -> dict[str, Tensor]:
        """What this process carries from one iteration to the next, for a checkpoint.

        The length of a tensor's first axis may differ between processes: a missing row means the same as a row of zeros.
        """
        return {}

    def restore_state(self, state: dict[str, Tensor]) -> None:
        """Continue from the state that a checkpoint holds. Raises ValueError if it does not fit."""
        return


@dataclass(kw_only=True)
class Composed(Method):
    """A method that wraps another one, and changes its updates or adds updates to them."""

    method: Method

    def __post_init__(self) -> None:
        self.views, self.labels, self.forwards = self.method.views, self.method.labels, self.method.forwards

    def counters(self) -> dict[str, int]:
        return self.method.counters()

    def restore_counters(self, counters: dict[str, int]) -> None:
        self.method.restore_counters(counters)

    def state(self) -> dict[str, Tensor]:
        return self.method.state()

    def restore_state(self, state: dict[str, Tensor]) -> None:
        self.method.restore_state(state)
