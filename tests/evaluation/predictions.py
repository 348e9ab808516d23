"""Predictions with a given error."""

import torch

from tenet.evaluation.measures import Predictions

IMAGES = 200


def make_predictions(error_pct: float, *, seed: int = 0) -> Predictions:
    """Of two classes; the given share is wrong, at images drawn by seed."""
    labels = torch.arange(IMAGES) % 2
    wrong = torch.zeros(IMAGES, dtype=torch.bool)
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(seed))
    wrong[order[: round(error_pct * IMAGES / 100)]] = True
    confidence, nll, brier = torch.tensor([0.8, 0.5, 0.1]).expand(IMAGES, 3).T.contiguous()
    return Predictions(torch.where(wrong, 1 - labels, labels), labels, confidence, nll, brier)
