"""The method's functions compared with values of the official implementation."""

import pytest
import torch

from tenet.inhibition import (
    group_channels,
    group_importance,
    inhibition_mask,
    orthogonality_loss,
)
from tests import golden


@pytest.fixture(params=golden.INHIBITION_FILES)
def values(request):
    return golden.load(request.param)


def test_assignments_equal_the_official_ones(values):
    medoids = values["initial_medoids"]
    assignments = group_channels(values["features"], groups=medoids.shape[1], initial_medoids=medoids)
    assert torch.equal(assignments, values["assignments"])


def test_importance_and_mask_equal_the_official_ones(values):
    given = {"assignments": values["assignments"], "groups": values["initial_medoids"].shape[1]}
    importance = group_importance(values["gradients"], **given)
    torch.testing.assert_close(importance, values["importance"], rtol=1e-5, atol=1e-7)
    mask = inhibition_mask(values["features"], gradients=values["gradients"], **given)
    torch.testing.assert_close(mask, values["mask"], rtol=0, atol=1e-5)


def test_orthogonality_equals_the_official_one(values):
    groups = values["initial_medoids"].shape[1]
    loss = orthogonality_loss(values["features"], assignments=values["assignments"], groups=groups)
    torch.testing.assert_close(loss, values["orthogonality"], rtol=1e-5, atol=0)
