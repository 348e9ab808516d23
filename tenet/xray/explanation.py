"""What an inhibited step would do to each image of a batch, as tensors."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tenet.inhibition import (
    Inhibition,
    group_channels,
    group_importance,
    group_maps,
    inhibition_mask,
    split,
)


class Explanation(NamedTuple):
    """What inhibition would do to each image; all in eval mode, where one image does not depend on another.

    reversed_maps: R of each group, in (0, 1); 1 where the group passes or is empty. evidence: the
    channels' sum, each times its weight, rectified: Grad-CAM at the cut, for the true class's sigmoid.
    evidence_inhibited: the same of the masked features, with the same weights.
    """

    assignments: Int64[Tensor, "batch channel"]
    sizes: Int64[Tensor, "batch group"]
    importance: Float[Tensor, "batch group"]
    reversed_maps: Float[Tensor, "batch group h w"]
    evidence: Float[Tensor, "batch h w"]
    evidence_inhibited: Float[Tensor, "batch h w"]
    logits: Float[Tensor, "batch class"]
    logits_inhibited: Float[Tensor, "batch class"]


@torch.no_grad()
def explain(
    model: nn.Module,
    images: Float[Tensor, "batch 3 height width"],
    labels: Int64[Tensor, " batch"],
    *,
    inhibition: Inhibition,
    generator: torch.Generator,
) -> Explanation:
    """Steps 3 to 6 of the method on normalised images, and the model's answer with and without the mask.

    Generators of one seed give batches of one size the same initial medoids. Leaves the model as it was.
    Raises ValueError as `Inhibition.step` does.
    """
    features, gradients = inhibition.importance_pass(model, images, labels)
    groups = inhibition.groups
    assignments = group_channels(
        features,
        groups=groups,
        generator=generator,
        max_iterations=inhibition.max_iterations,
        tolerance=inhibition.tolerance,
    )
    group: dict[str, Any] = {"gradients": gradients, "assignments": assignments, "groups": groups}
    mask = inhibition_mask(features, **group)
    batch, _, h, w = features.shape
    channel_groups = assignments[:, :, None, None].expand_as(mask)
    was_training = model.training
    # Eval mode, unlike the inhibited pass of training: its batch statistics would mix the images.
    model.eval()
    try:
        back = split(model, inhibition.layer).back
        # A copy, because the first module behind the cut may work in place.
        logits, logits_inhibited = back(features.clone()).float(), back(features * mask).float()
    finally:
        model.train(was_training)
    return Explanation(
        assignments,
        sizes=assignments.new_zeros(batch, groups).scatter_add(1, assignments, torch.ones_like(assignments)),
        importance=group_importance(gradients, assignments=assignments, groups=groups),
        # All channels of a group carry the same map, so it does not matter whose stays.
        reversed_maps=mask.new_ones(batch, groups, h, w).scatter(1, channel_groups, mask),
        evidence=group_maps(features, **group).sum(dim=1).relu(),
        evidence_inhibited=group_maps(features * mask, **group).sum(dim=1).relu(),
        logits=logits,
        logits_inhibited=logits_inhibited,
    )


def group_overlap(
    first: Int64[Tensor, "batch channel"], second: Int64[Tensor, "batch channel"]
) -> list[float]:
    """Adjusted Rand index by image: 1 for the same groups, whatever their ids; about 0 for unrelated ones."""
    from sklearn.metrics import adjusted_rand_score

    return [float(adjusted_rand_score(*pair)) for pair in zip(first.numpy(), second.numpy(), strict=True)]
