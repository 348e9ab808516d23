"""TENET training: after an update of a method, a second update may follow, in which the decisive features are damped."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from tenet.distributed import SINGLE_PROCESS, ProcessGroup
from tenet.inhibition import NonFiniteFeaturesError, group_channels, inhibition_mask, orthogonality_loss
from tenet.methods.labels import SINGLE_LABEL, LabelKind
from tenet.methods.method import Batch, Composed, Update
from tenet.networks import Layout, Network, resolve_cut, unwrap
from tenet.rules import at_least, at_most, check_arguments


class Importance(NamedTuple):
    """Features at the cut, computed with running BatchNorm statistics, and the gradients of the true classes' scores with
    respect to these features."""

    features: Float[Tensor, "batch channel h w"]
    gradients: Float[Tensor, "batch channel h w"]


@dataclass(kw_only=True)
class Inhibited(Composed):
    """Any method with group-wise inhibition on top.

    method: the method whose updates are followed by inhibited ones.
    layer: the module after which the features are grouped and masked, by name; the network's `cut`.
    layout: of the features there: auto, maps, channels_last, or tokens (tokens+1 leaves the first one out).
    groups: number of channel groups, from 1 to the channels at `layer`.
    weight, orthogonality: factors of the inhibited cross-entropy (binary where the method's labels are multi-label) and
        of the orthogonality loss.
    interval, start_step: inhibited updates follow iterations from `start_step` on that are divisible by `interval`.
    max_iterations, tolerance: limits of the grouping (see `group_channels`).

    Source: Liu et al., ICCV 2021 (arXiv 2103.02152); docs/method.md.
    """

    layer: str
    layout: str = "auto"
    groups: Annotated[int, at_least(1)] = 6
    weight: Annotated[float, at_least(0)] = 0.1
    orthogonality: Annotated[float, at_least(0)] = 1e-3
    interval: Annotated[int, at_least(1)] = 3
    start_step: Annotated[int, at_least(0)] = 500
    max_iterations: Annotated[int, at_least(1), at_most(10_000)] = 50
    tolerance: Annotated[float, at_least(0)] = 1e-4
    process_group: ProcessGroup = SINGLE_PROCESS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_arguments(type(self), vars(self))
        Layout.parse(self.layout)
        self.inhibited_steps = 0
        self.skipped_steps = 0
        self._checked: Network | None = None

    def updates(self, network: nn.Module, batch: Batch) -> Iterator[Update]:
        self._check_cut(unwrap(network))
        for update in self.method.updates(network, batch):
            # Step 1: the plain update. The copy of who was right to the host overlaps with its backward.
            right = None
            if update.correct is not None and self.is_due(batch.step):
                right = HostCopy(self.labels.chosen(update.batch.labels, update.correct))
                decisive = self.labels.decisive(update.batch.labels, update.correct)
            yield update

            # Step 2: if an inhibited update is due, choose the samples that were right. All processes must agree.
            if right is None or update.is_refused:
                continue
            # The images that the plain update saw, which a method may have changed.
            images, decisive, targets = choose(update.batch, right.read(), decisive, network=unwrap(network))
            # Whether any part of a batch has such samples is not known yet, so each part yields an update.
            if batch.part is None and not self.process_group.any(len(images) > 0):
                self.skipped_steps += 1
                continue

            if len(images) == 0:
                inhibited = empty_update(network, update.batch)
            else:
                # Step 3: the importance pass.
                features, gradients = importance_pass(unwrap(network), images, decisive, kind=self.labels)
                # Step 4: groups of similar channels.
                try:
                    assignments = group_channels(
                        features,
                        groups=self.groups,
                        generator=batch.draw("medoids"),
                        max_iterations=self.max_iterations,
                        tolerance=self.tolerance,
                    )
                except NonFiniteFeaturesError as error:
                    # Perhaps only in this process: the loss of NaN makes all processes refuse the update.
                    bad = empty_update(network, update.batch, loss=torch.nan)
                    bad.name += f" ({error})"
                    yield bad
                    continue
                # Steps 5 and 6: the importance of each group, and the mask that damps the important ones.
                mask = inhibition_mask(
                    features, gradients=gradients, assignments=assignments, groups=self.groups
                )
                # Step 7: the masked forward.
                features, logits = network(images, mask)
                cross_entropy = self.labels.loss(logits, targets)
                # Step 8: orthogonality between the groups.
                orthogonality = orthogonality_loss(features, assignments=assignments, groups=self.groups)
                # Step 9: the loss of a second optimizer step.
                loss = self.weight * cross_entropy + self.orthogonality * orthogonality
                inhibited = make_update(
                    loss,
                    update.batch,
                    samples=len(images),
                    cross_entropy=cross_entropy,
                    orthogonality=orthogonality,
                )
            yield inhibited
            if batch.part not in (None, 1):  # the first part counts the step
                continue
            self.skipped_steps += inhibited.is_empty
            self.inhibited_steps += not (inhibited.is_empty or inhibited.is_refused)

    def _check_cut(self, network: Network) -> None:
        """Raise ValueError unless the network is cut at `layer`."""
        if self._checked is not network:
            if network.cut != resolve_cut(network.backbone, self.layer, argument="layer"):
                raise ValueError(f"layer={self.layer} is not where the network is cut, {network.cut}")
            self._checked = network

    def is_due(self, step: int) -> bool:
        """Step 2, when: does an inhibited update follow iteration `step` (counted from 1)?"""
        return step >= self.start_step and step % self.interval == 0

    def check(self, network: Network, image_shape: tuple[int, int, int]) -> None:
        """Raise ValueError unless the network has at least `groups` channels at its cut.

        Runs the network on one image of `image_shape`, [3, h, w]; on the meta device this computes nothing.
        """
        try:
            channels = network.find_cut(image_shape).maps[0]
        except ValueError as error:
            raise ValueError(f"layer={self.layer} {error}") from error
        if self.groups > channels:
            raise ValueError(
                f"groups={self.groups} exceeds the {channels} channels at layer {self.layer}; "
                "lower groups or cut at a wider layer"
            )

    def counters(self) -> dict[str, int]:
        own = {"inhibited_steps": self.inhibited_steps, "skipped_steps": self.skipped_steps}
        return {**super().counters(), **own}

    def restore_counters(self, counters: dict[str, int]) -> None:
        super().restore_counters(counters)
        self.inhibited_steps, self.skipped_steps = counters["inhibited_steps"], counters["skipped_steps"]


class Chosen(NamedTuple):
    """Images of the first view. decisive: the labels that were right, see `LabelKind.decisive`.
    targets: the shares of the classes where samples were mixed, otherwise the labels."""

    images: Float[Tensor, "chosen 3 h w"]
    decisive: Tensor
    targets: Tensor


def choose(batch: Batch, right: Bool[Tensor, " batch"], decisive: Tensor, *, network: Network) -> Chosen:
    """The samples whose first view was right.

    Returns none if fewer were right than a forward of the network in train mode needs. `right` is on the host.
    """
    images = batch.images[: len(batch.labels)]
    ids = right.nonzero().squeeze(1)
    _, channels, height, width = images.shape
    if len(ids) < network.min_batch_size((channels, height, width)):
        ids = ids[:0]
    ids = ids.to(batch.labels.device, non_blocking=True)
    return Chosen(images[ids], decisive[ids], batch.hard_or_soft_targets[ids])


def importance_pass(
    network: Network,
    images: Float[Tensor, "batch 3 height width"],
    labels: Int64[Tensor, " batch"] | Bool[Tensor, "batch class"],
    *,
    kind: LabelKind = SINGLE_LABEL,
) -> Importance:
    """Step 3: features at the cut, and the gradients of the summed sigmoid scores of the right labels with respect to them.

    labels: the true classes; for multi-label samples, which of their classes were right.
    Leaves the network's mode, gradients and BatchNorm statistics unchanged. Only the part behind the cut builds a
    graph. Raises ValueError, on the CPU, for a label that is none of the network's classes.
    """
    kept: list[Tensor] = []

    def start_graph(features: Tensor) -> Tensor:
        # No graph before the cut, a graph behind it: the end of the no_grad context below restores the mode.
        torch.set_grad_enabled(True)
        kept.append(features.detach().requires_grad_())
        return kept[0].clone()  # the next module may work in place

    was_training = network.training
    # Eval mode: the importance pass must not move BatchNorm statistics.
    network.eval()
    try:
        with torch.no_grad(), network.at_cut(start_graph):
            logits = network(images)
            scores = kind.scores(logits, labels)
            # With respect to the features alone: no parameter's gradient is touched.
            (gradients,) = torch.autograd.grad(scores.sum(), kept[0])
    finally:
        network.train(was_training)
    return Importance(kept[0].detach(), gradients)


def make_update(
    loss: Tensor, batch: Batch, *, samples: int, cross_entropy: Tensor, orthogonality: Tensor
) -> Update:
    terms = {"loss_inhibited": cross_entropy.detach(), "loss_orthogonality": orthogonality.detach()}
    return Update(loss=loss, batch=batch, samples=samples, terms=terms, name="inhibited loss")


def empty_update(network: nn.Module, batch: Batch, *, loss: float = 0.0) -> Update:
    """An inhibited update of no samples with a constant loss: this process only joins the gradient all-reduce of the
    others. Its forward must not move BatchNorm statistics."""
    if any(isinstance(module, nn.SyncBatchNorm) for module in network.modules()):
        # In train mode, because SyncBatchNorm waits for the statistics of every process: here, those of no image.
        constant = loss + 0 * network(batch.images[:0]).sum()
    else:
        network.eval()
        constant = loss + 0 * network(batch.images[:1]).sum()
        network.train()
    return make_update(constant, batch, samples=0, cross_entropy=constant, orthogonality=constant)


class HostCopy:
    """An asynchronous copy of a tensor to the host: `read` waits for the work that was queued before the copy, not
    for what was queued after it."""

    def __init__(self, tensor: Tensor) -> None:
        self.copy, self.arrival = tensor, None
        if tensor.is_cuda:
            self.copy = torch.empty_like(tensor, device="cpu", pin_memory=True)
            self.copy.copy_(tensor, non_blocking=True)
            self.arrival = torch.cuda.Event()
            self.arrival.record()

    def read(self) -> Tensor:
        if self.arrival is not None:
            self.arrival.synchronize()
        return self.copy
