"""The method's steps 4 to 6 and 8 as loops over samples, groups and channels, in float64 NumPy: slow and plain.

Written from the nine steps of docs/method.md alone; shares no code with tenet.inhibition.
"""

import numpy as np


def group_channels(features, initial_medoids, max_iterations=50, tolerance=1e-4):
    return np.stack(
        [
            _group_sample(sample.reshape(len(sample), -1).astype(np.float64), list(medoids), max_iterations, tolerance)
            for sample, medoids in zip(features, initial_medoids, strict=True)
        ]
    )


def _group_sample(points, medoids, max_iterations, tolerance):
    assignments = np.zeros(len(points), np.int64)
    for _ in range(max_iterations):
        distances = np.stack([((points - points[medoid]) ** 2).sum(axis=1) for medoid in medoids], axis=1)
        assignments = distances.argmin(axis=1)
        moved, taken = [], set()
        for group in range(len(medoids)):
            members = points[assignments == group]
            free = [channel for channel in range(len(points)) if channel not in taken]
            if len(members) == 0:
                medoid = free[0]
            else:
                # Rounded, so that channels as far from the mean as each other count as such.
                to_mean = np.sqrt(((points - members.mean(axis=0)) ** 2).sum(axis=1)).astype(np.float32)
                medoid = min(free, key=lambda channel: (to_mean[channel], channel))
            taken.add(medoid)
            moved.append(medoid)
        shift = sum(np.linalg.norm(points[new] - points[old]) for new, old in zip(moved, medoids, strict=True))
        medoids = moved
        if shift**2 < tolerance:
            break
    return assignments


def inhibition_mask(features, gradients, assignments, groups):
    mask = np.ones(features.shape)
    for sample in range(len(features)):
        weights = gradients[sample].mean(axis=(1, 2))
        for group in range(groups):
            members = np.flatnonzero(assignments[sample] == group)
            if weights[members].sum() <= 0:
                continue
            evidence = sum(weights[channel] * features[sample, channel] for channel in members)
            standardised = (evidence - evidence.mean()) / (evidence.std() + 1e-8)
            mask[sample, members] = 1 / (1 + np.exp(standardised))
    return mask


def orthogonality_loss(features, assignments, groups):
    losses = []
    for sample, ids in zip(features, assignments, strict=True):
        means = [sample[ids == group].mean(axis=0).ravel() for group in range(groups) if (ids == group).any()]
        products = [abs(means[i] @ means[j]) for j in range(len(means)) for i in range(j)]
        losses.append(sum(products) / len(products) if products else 0.0)
    return float(np.mean(losses))
