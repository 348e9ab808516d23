"""One inhibited step on a ResNet, written out over its stages; shares the tensor functions of tenet.inhibition alone."""

import torch
from torch.nn import functional as F

from tenet.inhibition import group_channels, inhibition_mask, orthogonality_loss


def inhibited_loss(model, images, labels, *, settings, generator):
    """The loss of steps 3 to 9, for normalised images that were classified right. Ends in train mode."""
    stages = list(model.stages)
    cut = [name for name, _ in model.stages.named_children()].index(settings.layer) + 1
    front, back = torch.nn.Sequential(*stages[:cut]), torch.nn.Sequential(*stages[cut:], model.head)
    model.eval()
    with torch.no_grad():
        features = front(images)
    features.requires_grad_()
    scores = torch.sigmoid(back(features.clone())[torch.arange(len(labels)), labels])
    (gradients,) = torch.autograd.grad(scores.sum(), features)
    features = features.detach()
    given = {"groups": settings.groups}
    assignments = group_channels(features, generator=generator, **given)
    mask = inhibition_mask(features, gradients=gradients, assignments=assignments, **given)
    model.train()
    features = front(images)
    cross_entropy = F.cross_entropy(back(features * mask), labels)
    orthogonality = orthogonality_loss(features, assignments=assignments, **given)
    return settings.weight * cross_entropy + settings.orthogonality * orthogonality
