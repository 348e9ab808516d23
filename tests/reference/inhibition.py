"""The method's steps 4 to 6 and 8 as plain loops over samples, groups and channels, on any device: slow and clear.

Written from the nine steps of docs/method.md alone; shares no code with tenet.inhibition. float64, and
distances rounded to float32 before they are compared, so that what ties in exact arithmetic ties here.
"""

import torch


def group_channels(features, initial_medoids, max_iterations=50, tolerance=1e-4):
    return torch.stack(
        [
            _group_sample(sample.double().flatten(1), medoids.tolist(), max_iterations, tolerance)
            for sample, medoids in zip(features, initial_medoids, strict=True)
        ]
    )


def _distances(points, center):
    return (points - center).square().sum(dim=1).sqrt().float()


def _group_sample(points, medoids, max_iterations, tolerance):
    assignments = None
    for _ in range(max_iterations):
        distances = torch.stack([_distances(points, points[medoid]) for medoid in medoids], dim=1)
        assignments = distances.argmin(dim=1)
        moved = []
        for group in range(len(medoids)):
            members = points[assignments == group]
            if len(members) == 0:
                medoid = next(channel for channel in range(len(points)) if channel not in moved)
            else:
                to_mean = _distances(points, members.mean(dim=0))
                to_mean[moved] = torch.inf
                medoid = to_mean.argmin().item()
            moved.append(medoid)
        shift = sum((points[new] - points[old]).norm() for new, old in zip(moved, medoids, strict=True))
        medoids = moved
        if shift**2 < tolerance:
            break
    return assignments


def inhibition_mask(features, gradients, assignments, groups):
    mask = torch.ones_like(features, dtype=torch.float64)
    for sample in range(len(features)):
        weights = gradients[sample].double().mean(dim=(1, 2))
        for group in range(groups):
            members = (assignments[sample] == group).nonzero().flatten().tolist()
            if sum(weights[channel] for channel in members) <= 0:
                continue
            evidence = sum(weights[channel] * features[sample, channel].double() for channel in members)
            deviation = (evidence - evidence.mean()).square().mean().sqrt()
            damped = torch.sigmoid(-(evidence - evidence.mean()) / (deviation + 1e-8))
            for channel in members:
                mask[sample, channel] = damped
    return mask


def orthogonality_loss(features, assignments, groups):
    losses = []
    for sample, ids in zip(features.double(), assignments, strict=True):
        means = [
            sample[ids == group].mean(dim=0).flatten() for group in range(groups) if (ids == group).any()
        ]
        products = [(means[i] @ means[j]).abs() for j in range(len(means)) for i in range(j)]
        losses.append(sum(products) / len(products) if products else 0.0)
    return float(sum(losses) / len(losses))
