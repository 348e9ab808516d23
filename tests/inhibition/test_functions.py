import math

import pytest
import torch

from tenet.inhibition import group_importance, group_maps, inhibition_mask, orthogonality_loss
from tests import golden
from tests.reference import inhibition as reference


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(5, 12, 4, 3, generator=generator).relu()
    gradients = torch.randn(5, 12, 4, 3, generator=generator)
    assignments = torch.randint(4, (5, 12), generator=generator)
    assignments[0] = 2  # one group holds everything
    return features, gradients, assignments


def test_importance_is_the_sum_of_the_mean_gradients_of_a_group():
    gradients = torch.tensor([[1.0, 3.0], [10.0, 20.0], [-1.0, -2.0]]).reshape(1, 3, 1, 2)
    importance = group_importance(gradients, assignments=torch.tensor([[0, 2, 0]]), groups=3)
    assert importance.tolist() == [[2.0 - 1.5, 0.0, 15.0]]


def test_mask_of_a_case_computed_by_hand():
    # One channel, weight 1, map (0, 2): standardised (-1, 1), reversed sigmoid(1), sigmoid(-1).
    features = torch.tensor([0.0, 2.0]).reshape(1, 1, 1, 2)
    mask = inhibition_mask(
        features, gradients=torch.ones(1, 1, 1, 2), assignments=torch.zeros(1, 1, dtype=torch.int64), groups=1
    )
    expected = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))]
    torch.testing.assert_close(mask.flatten(), torch.tensor(expected))


def test_mask_equals_the_loop_oracle(case):
    features, gradients, assignments = case
    mask = inhibition_mask(features, gradients=gradients, assignments=assignments, groups=4)
    expected = reference.inhibition_mask(features, gradients, assignments, 4)
    torch.testing.assert_close(mask, expected.float(), rtol=0, atol=1e-5)


def test_mask_is_one_where_importance_is_not_positive(case):
    features, gradients, assignments = case
    mask = inhibition_mask(features, gradients=-gradients.abs(), assignments=assignments, groups=4)
    assert (mask == 1).all()
    mask = inhibition_mask(features, gradients=torch.zeros_like(gradients), assignments=assignments, groups=4)
    assert (mask == 1).all()


def test_mask_damps_a_group_most_where_it_is_strongest(case):
    features, gradients, assignments = case
    gradients = gradients.abs()
    mask = inhibition_mask(features, gradients=gradients, assignments=assignments, groups=4)
    maps = group_maps(features, gradients=gradients, assignments=assignments, groups=4)
    for sample in range(5):
        for channel in range(12):
            strongest = maps[sample, assignments[sample, channel]].argmax()
            assert mask[sample, channel].argmin() == strongest
    assert ((mask > 0) & (mask < 1)).all()


def test_a_constant_map_is_halved_everywhere():
    mask = inhibition_mask(
        torch.full((1, 2, 3, 3), 5.0),
        gradients=torch.ones(1, 2, 3, 3),
        assignments=torch.tensor([[0, 0]]),
        groups=1,
    )
    assert (mask == 0.5).all()


def test_mask_carries_no_gradient(case):
    features, gradients, assignments = case
    mask = inhibition_mask(features.requires_grad_(), gradients=gradients, assignments=assignments, groups=4)
    assert not mask.requires_grad


def test_functions_compute_in_float32_under_autocast(case):
    features, gradients, assignments = case
    given = {"assignments": assignments, "groups": 4}
    expected = inhibition_mask(features, gradients=gradients, **given)
    expected_loss = orthogonality_loss(features, **given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(inhibition_mask(features, gradients=gradients, **given), expected)
        assert torch.equal(orthogonality_loss(features, **given), expected_loss)


def test_orthogonality_of_a_case_computed_by_hand():
    # Groups 0 and 2 are occupied: means (1, 2) and (3, -1), product 1; one pair. The second sample has one group.
    features = torch.tensor([[[1.0, 2.0], [2.0, 0.0], [4.0, -2.0]], [[1.0, 1.0]] * 3]).reshape(2, 3, 1, 2)
    assignments = torch.tensor([[0, 2, 2], [1, 1, 1]])
    loss = orthogonality_loss(features, assignments=assignments, groups=3)
    assert loss.item() == pytest.approx(abs(1 * 3 + 2 * -1) / 2)


def test_orthogonality_equals_the_loop_oracle(case):
    features, _, assignments = case
    loss = orthogonality_loss(features, assignments=assignments, groups=4)
    expected = reference.orthogonality_loss(features, assignments, 4)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_orthogonality_is_differentiable_in_the_features():
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2, 6, 2, 2, generator=generator, requires_grad=True)
    assignments = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 1, 1]])
    orthogonality_loss(features, assignments=assignments, groups=3).backward()
    step = 1e-2
    for index in [(0, 1, 0, 1), (1, 4, 1, 1)]:
        up, down = features.detach().clone(), features.detach().clone()
        up[index] += step
        down[index] -= step
        slope = (
            orthogonality_loss(up, assignments=assignments, groups=3)
            - orthogonality_loss(down, assignments=assignments, groups=3)
        ) / (2 * step)
        assert features.grad[index].item() == pytest.approx(slope.item(), rel=1e-2)


@pytest.mark.parametrize("bad", [-1, 4])
def test_group_ids_out_of_range_are_refused(case, bad):
    features, gradients, assignments = case
    assignments[2, 5] = bad
    given = {"assignments": assignments, "groups": 4}
    for call in (
        lambda: group_importance(gradients, **given),
        lambda: group_maps(features, gradients=gradients, **given),
        lambda: inhibition_mask(features, gradients=gradients, **given),
        lambda: orthogonality_loss(features, **given),
    ):
        with pytest.raises(ValueError, match=r"group ids in \[0, 4\)"):
            call()


def test_the_loop_oracle_agrees_with_the_official_values():
    values = golden.load(golden.INHIBITION_FILES[0])
    medoids = values["initial_medoids"]
    assignments = reference.group_channels(values["features"], medoids)
    assert torch.equal(assignments, values["assignments"])
    mask = reference.inhibition_mask(values["features"], values["gradients"], assignments, medoids.shape[1])
    torch.testing.assert_close(mask.float(), values["mask"], rtol=0, atol=1e-5)
