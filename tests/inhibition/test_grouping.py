import pytest
import torch

from tenet.inhibition import group_channels
from tests.reference import inhibition as reference


def draw(batch, channels, h, w, *, seed=0):
    return torch.randn(batch, channels, h, w, generator=torch.Generator().manual_seed(seed)).relu()


def draw_medoids(batch, channels, groups, *, seed=0):
    noise = torch.rand(batch, channels, generator=torch.Generator().manual_seed(seed))
    return noise.argsort(dim=1)[:, :groups]


def test_a_case_computed_by_hand():
    # Four one-pixel channels at 0, 1, 10, 12 and medoids at 0 and 1. Round 1 assigns 0 | 1 10 12; their
    # means are 0 and 23/3, so the medoids move to 0 and 10. Round 2 assigns 0 1 | 10 12: nothing moves.
    features = torch.tensor([0.0, 1.0, 10.0, 12.0]).reshape(1, 4, 1, 1)
    assignments = group_channels(features, groups=2, initial_medoids=torch.tensor([[0, 1]]))
    assert assignments.tolist() == [[0, 0, 1, 1]]


def test_the_answer_is_the_last_assignment_even_if_the_medoids_then_move():
    features = torch.tensor([0.0, 1.0, 10.0, 12.0]).reshape(1, 4, 1, 1)
    medoids = torch.tensor([[0, 1]])
    assignments = group_channels(features, groups=2, initial_medoids=medoids, max_iterations=1)
    assert assignments.tolist() == [[0, 1, 1, 1]]


@pytest.mark.parametrize(("channels", "groups"), [(7, 1), (16, 3), (24, 6), (33, 5), (12, 12)])
def test_equals_the_loop_oracle(channels, groups):
    features = draw(6, channels, 5, 4)
    medoids = draw_medoids(6, channels, groups)
    expected = reference.group_channels(features, medoids)
    assert torch.equal(group_channels(features, groups=groups, initial_medoids=medoids), expected)


@pytest.mark.parametrize("channels", [20, 31])
def test_equal_channels_are_ties_that_go_to_the_lower_group_and_channel(channels):
    # Half of the channels are dead, and each other channel occurs twice: there are ties everywhere.
    features = draw(8, channels, 4, 4)
    features[:, : channels // 2] = 0
    features[:, channels // 2 + 1 :: 2] = features[:, channels // 2 : -1 : 2]
    medoids = draw_medoids(8, channels, 5)
    expected = reference.group_channels(features, medoids)
    assert torch.equal(group_channels(features, groups=5, initial_medoids=medoids), expected)


def test_the_channels_of_a_group_of_two_tie_and_the_lower_one_becomes_medoid():
    # Float32 arithmetic would break these ties arbitrarily, by rounding errors.
    features = torch.randn(200, 6, 4, 4, generator=torch.Generator().manual_seed(1))
    medoids = torch.tensor([[4, 5, 2]]).expand(200, -1)
    expected = reference.group_channels(features, medoids)
    assert torch.equal(group_channels(features, groups=3, initial_medoids=medoids), expected)


def test_each_sample_is_grouped_as_if_it_were_alone():
    features, medoids = draw(9, 20, 4, 4), draw_medoids(9, 20, 4)
    together = group_channels(features, groups=4, initial_medoids=medoids)
    alone = [
        group_channels(features[i : i + 1], groups=4, initial_medoids=medoids[i : i + 1]) for i in range(9)
    ]
    assert torch.equal(together, torch.cat(alone))


def test_random_medoids_come_from_the_generator_and_are_distinct_channels():
    features = draw(4, 10, 3, 3)

    def run(seed):
        return group_channels(features, groups=3, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(run(1), run(1))
    assert any(not torch.equal(run(1), run(seed)) for seed in range(2, 8))
    # With as many groups as channels, every channel is its own group from the start.
    assignments = group_channels(features, groups=10, generator=torch.Generator().manual_seed(0))
    assert (assignments.sort(dim=1).values == torch.arange(10)).all()


def test_grouping_keeps_full_precision_under_autocast_and_for_half_precision_features():
    features, medoids = draw(4, 24, 4, 4), draw_medoids(4, 24, 4)
    expected = group_channels(features, groups=4, initial_medoids=medoids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(group_channels(features, groups=4, initial_medoids=medoids), expected)
    halves = features.bfloat16()
    expected = group_channels(halves.float(), groups=4, initial_medoids=medoids)
    assert torch.equal(group_channels(halves, groups=4, initial_medoids=medoids), expected)


def test_no_gradient_flows_into_the_groups():
    features = draw(2, 8, 3, 3).requires_grad_()
    assert not group_channels(features, groups=2).requires_grad


@pytest.mark.parametrize("groups", [0, -1, 9])
def test_groups_outside_one_to_channels_are_refused(groups):
    with pytest.raises(ValueError, match=rf"groups={groups} must be from 1 to the number of channels, 8"):
        group_channels(draw(2, 8, 3, 3), groups=groups)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_non_finite_features_are_refused(value):
    features = draw(2, 8, 3, 3)
    features[1, 3, 0, 2] = value
    with pytest.raises(ValueError, match="features contain NaN or infinity"):
        group_channels(features, groups=2)


@pytest.mark.parametrize("medoids", [[[0, 0], [1, 2]], [[0, 8], [1, 2]], [[-1, 3], [1, 2]]])
def test_medoids_that_are_not_distinct_channels_are_refused(medoids):
    with pytest.raises(ValueError, match="distinct channels"):
        group_channels(draw(2, 8, 3, 3), groups=2, initial_medoids=torch.tensor(medoids))


def test_medoids_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"need \[2, 3\]"):
        group_channels(draw(2, 8, 3, 3), groups=3, initial_medoids=torch.tensor([[0, 1], [1, 2]]))


@pytest.mark.parametrize("scale", [1e-30, 1e-23, 1e19, 1e30])
def test_magnitudes_whose_squares_exceed_float32_are_grouped_as_any_other(scale):
    features, medoids = draw(6, 20, 4, 4), draw_medoids(6, 20, 4)
    # Scaling rounds the features a little, so the oracle gets the same scaled values.
    scaled = features * scale
    expected = reference.group_channels(
        scaled.double() / scale, medoids, tolerance=1e-4 / scale**2 if scale > 1 else 1e-4
    )
    if scale > 1:
        assert torch.equal(group_channels(scaled, groups=4, initial_medoids=medoids), expected)
    else:
        # Tiny features settle at once: the first assignment is the answer.
        first = reference.group_channels(scaled.double() / scale, medoids, max_iterations=1)
        assert torch.equal(group_channels(scaled, groups=4, initial_medoids=medoids), first)
