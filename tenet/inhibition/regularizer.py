"""The settings of TENET training, and one inhibited step composed of the method's functions."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.inhibition.checks import check_labels
from tenet.inhibition.grouping import group_channels
from tenet.inhibition.mask import inhibition_mask
from tenet.inhibition.orthogonality import orthogonality_loss


class InhibitedStep(NamedTuple):
    """What one inhibited step computed; `loss` is ready for backward.

    features: at the cut, in the inhibited pass, before the mask. `mask` and `assignments` come from
    the importance pass. The losses are unweighted but for `loss` itself.
    """

    logits: Float[Tensor, "batch class"]
    loss: Float[Tensor, ""]
    cross_entropy: Float[Tensor, ""]
    orthogonality: Float[Tensor, ""]
    mask: Float[Tensor, "batch channel h w"]
    assignments: Int64[Tensor, "batch channel"]
    features: Float[Tensor, "batch channel h w"]


class Importance(NamedTuple):
    """Features at the cut with running statistics, and the gradients of the true classes' scores there."""

    features: Float[Tensor, "batch channel h w"]
    gradients: Float[Tensor, "batch channel h w"]


class SplitModel(NamedTuple):
    """A backbone cut after a named stage: `back(front(x))` is the backbone's forward."""

    front: nn.Module
    back: nn.Module


def split(model: nn.Module, layer: str) -> SplitModel:
    """Cut a backbone (named `stages`, then `head`) after the stage `layer`.

    Raises ValueError naming the stages if there is no such stage.
    """
    names = list(model.stages._modules)  # type: ignore[union-attr]  # named_children() leaves out repeats
    if layer not in names:
        raise ValueError(
            f"layer={layer!r} is not a stage of {type(model).__name__}; its stages: {', '.join(names)}"
        )
    cut = names.index(layer) + 1
    return SplitModel(model.stages[:cut], nn.Sequential(model.stages[cut:], model.head))  # type: ignore[index, arg-type]


class MaskableForward(nn.Module):
    """A backbone's forward that takes a mask for the features after the stage `layer`.

    One module for both passes that train, because DistributedDataParallel averages gradients in its own
    forward alone: wrap this, not the backbone.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        super().__init__()
        self.model, self.layer = model, layer

    def forward(
        self,
        images: Float[Tensor, "batch 3 height width"],
        mask: Float[Tensor, "batch channel h w"] | None = None,
    ) -> (
        Float[Tensor, "batch class"] | tuple[Float[Tensor, "batch channel h w"], Float[Tensor, "batch class"]]
    ):
        """The logits; with a mask, the features before it and the logits of what it leaves."""
        if mask is None:
            return self.model(images)
        front, back = split(self.model, self.layer)
        features = front(images)
        return features, back(features * mask.to(features.dtype))


@dataclass(frozen=True, kw_only=True)
class Inhibition:
    """Settings of TENET training: when to inhibit, where, in how many groups, and how strongly.

    layer: stage of the backbone after which the features are grouped and masked.
    groups: number of channel groups, from 1 to the channels at `layer`.
    weight, orthogonality: factors of the inhibited cross-entropy and of the orthogonality loss.
    interval, start_step: an inhibited step follows every `interval`-th iteration from `start_step` on.
    max_iterations, tolerance: limits of the grouping (see `group_channels`).
    """

    layer: str
    groups: int = 6
    weight: float = 0.1
    orthogonality: float = 1e-3
    interval: int = 3
    start_step: int = 500
    max_iterations: int = 50
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        for name, minimum in {
            "groups": 1,
            "weight": 0,
            "orthogonality": 0,
            "interval": 1,
            "start_step": 0,
            "max_iterations": 1,
            "tolerance": 0,
        }.items():
            if not getattr(self, name) >= minimum:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {minimum}")
        for name in ("groups", "interval", "start_step", "max_iterations"):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"{name}={getattr(self, name)} must be an integer")

    def check(self, model: nn.Module, image_shape: tuple[int, int, int]) -> None:
        """Raise ValueError unless `model` can be cut at `layer` into `groups` groups.

        Runs the stages before the cut on one image of shape [channel, h, w]; on a model on the meta
        device this costs no arithmetic.
        """
        front, _ = split(model, self.layer)
        was_training = model.training
        model.eval()
        with torch.no_grad():
            channels = front(torch.zeros(1, *image_shape, device=next(model.parameters()).device)).shape[1]
        model.train(was_training)
        if self.groups > channels:
            raise ValueError(
                f"groups={self.groups} exceeds the {channels} channels at layer {self.layer}; "
                "lower groups or cut at a wider layer"
            )

    def is_due(self, step: int) -> bool:
        """Step 2, when: does an inhibited step follow iteration `step` (counted from 1)?"""
        return step >= self.start_step and step % self.interval == 0

    def step(
        self,
        model: nn.Module,
        images: Float[Tensor, "batch 3 height width"],
        labels: Int64[Tensor, " batch"],
        *,
        generator: torch.Generator | None = None,
        initial_medoids: Int64[Tensor, "batch group"] | None = None,
        through: nn.Module | None = None,
    ) -> InhibitedStep:
        """Steps 3 to 9 on the samples that step 2 chose, up to the loss; the model ends in train mode.

        `generator` draws the first medoids and lives on the images' device; `initial_medoids`
        (channel indices) replaces the draw. `through`: a wrapper of a `MaskableForward` of the model, for
        the inhibited pass alone. No copy to the host, except on the CPU.
        Raises ValueError for an empty batch, an unknown layer, groups beyond the channels at the
        cut, and, on the CPU, non-finite features or labels out of range.
        """
        if len(images) == 0:
            raise ValueError(
                "an inhibited step needs at least one sample; skip it where none was classified right"
            )
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"labels must be int64 [{len(images)}], one for each image, not {labels.dtype} {list(labels.shape)}"
            )
        # Step 3: what carries the decision.
        features, gradients = self.importance_pass(model, images, labels)
        # Step 4: groups of channels that fire alike.
        assignments = group_channels(
            features,
            groups=self.groups,
            generator=generator,
            initial_medoids=initial_medoids,
            max_iterations=self.max_iterations,
            tolerance=self.tolerance,
        )
        # Steps 5 and 6: damp the groups that carry it, where they are strongest.
        mask = inhibition_mask(features, gradients=gradients, assignments=assignments, groups=self.groups)
        # Step 7: decide from what is left.
        features, logits = self.inhibited_pass(model, images, mask=mask, through=through)
        cross_entropy = F.cross_entropy(logits, labels)
        # Step 8: groups that fire apart.
        orthogonality = orthogonality_loss(features, assignments=assignments, groups=self.groups)
        # Step 9: the loss of the second optimizer step.
        loss = self.weight * cross_entropy + self.orthogonality * orthogonality
        return InhibitedStep(logits, loss, cross_entropy, orthogonality, mask, assignments, features)

    def importance_pass(
        self,
        model: nn.Module,
        images: Float[Tensor, "batch 3 height width"],
        labels: Int64[Tensor, " batch"],
    ) -> Importance:
        """Step 3: features at the cut and the gradients there of the summed true-class sigmoid scores.

        Leaves the model's mode, gradients and BatchNorm statistics as they were.
        """
        was_training = model.training
        # Eval mode: the importance pass must not move BatchNorm statistics.
        model.eval()
        try:
            return self._importance(model, images, labels)
        finally:
            model.train(was_training)

    def _importance(
        self,
        model: nn.Module,
        images: Float[Tensor, "batch 3 height width"],
        labels: Int64[Tensor, " batch"],
    ) -> Importance:
        front, back = split(model, self.layer)
        with torch.no_grad():
            features = front(images)
        # Older versions of torch keep the weights that autocast has cast here, and would use them, without
        # gradients, in the inhibited pass too (pytorch/pytorch issue 112583).
        torch.clear_autocast_cache()
        with torch.enable_grad():
            features = features.detach().requires_grad_()
            # A copy, because the first module behind the cut may work in place.
            logits = back(features.clone())
            check_labels(labels, logits.shape[1])
            scores = logits.float().gather(1, labels[:, None]).sigmoid()
            # With respect to the features alone: no parameter's gradient is touched.
            (gradients,) = torch.autograd.grad(scores.sum(), features)
        return Importance(features.detach(), gradients)

    def inhibited_pass(
        self,
        model: nn.Module,
        images: Float[Tensor, "batch 3 height width"],
        *,
        mask: Float[Tensor, "batch channel h w"],
        through: nn.Module | None = None,
    ) -> tuple[Float[Tensor, "batch channel h w"], Float[Tensor, "batch class"]]:
        """Step 7: in train mode, the features at the cut and the logits of the masked features."""
        model.train()
        return (through or MaskableForward(model, self.layer))(images, mask)
