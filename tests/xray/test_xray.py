"""What an X-ray computes and draws."""

import pytest
import torch
from torch import nn

from tenet import xray
from tenet.inhibition import channel_weights, group_channels, group_importance, inhibition_mask
from tenet.methods import CrossEntropy, Inhibited, importance_pass
from tenet.networks import Network, ResNet
from tenet.xray.figures import XRay, print_rows, table_rows
from tenet.xray.picture import MAP_COLORS, PASSING, draw_xray

INHIBITED = Inhibited(method=CrossEntropy(), layer="stage_2", groups=3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = Network(ResNet(num_classes=5, depth=8, width=4), cut="stage_2")
    # Statistics that differ from those of the batch, so that eval and train mode differ.
    network(2 * torch.rand(8, 3, 16, 16))
    return network


@pytest.fixture
def batch():
    return torch.rand(6, 3, 16, 16, generator=seeded(1)), torch.tensor([0, 1, 2, 3, 4, 0])


def test_the_explanation_is_what_the_method_computes(network, batch):
    seen = xray.explain(network, *batch, inhibited=INHIBITED, generator=seeded())
    features, gradients = importance_pass(network, *batch)
    assignments = group_channels(features, groups=3, generator=seeded())
    mask = inhibition_mask(features, gradients=gradients, assignments=assignments, groups=3)
    importance = group_importance(gradients, assignments=assignments, groups=3)
    assert torch.equal(seen.assignments, assignments)
    assert torch.equal(seen.importance, importance)
    # Every channel has the map of its group as its mask.
    for image, groups in enumerate(assignments):
        assert torch.equal(seen.reversed_maps[image, groups], mask[image])
        assert seen.sizes[image].tolist() == [int((groups == group).sum()) for group in range(3)]
    assert (importance <= 0).any()
    assert (importance > 0).any()
    assert (seen.reversed_maps[importance <= 0] == 1).all()
    assert (seen.reversed_maps[importance > 0] < 1).all()

    weights = channel_weights(gradients)
    network.eval()
    for kept, evidence, logits in (
        (features, seen.evidence, seen.logits),
        (features * mask, seen.evidence_inhibited, seen.logits_inhibited),
    ):
        torch.testing.assert_close(evidence, torch.einsum("bc,bchw->bhw", weights, kept).relu())
        with network.at_cut(lambda _, kept=kept: kept):
            torch.testing.assert_close(logits, network(batch[0]))
    torch.testing.assert_close(seen.logits, network(batch[0]))


def test_a_group_without_channels_passes():
    # All channels equal: the first group takes them all.
    dead = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 2))
    images = torch.arange(16.0).reshape(1, 1, 4, 4).expand(1, 3, 4, 4)
    inhibited = Inhibited(method=CrossEntropy(), layer="0", groups=2)
    labels = torch.tensor([0])
    seen = xray.explain(Network(dead, cut="0"), images, labels, inhibited=inhibited, generator=seeded())
    assert seen.sizes.tolist() == [[3, 0]]
    assert (seen.reversed_maps[0, 1] == 1).all()
    assert seen.importance[0, 1] == 0


@pytest.mark.parametrize("is_training", [True, False])
def test_explaining_leaves_the_network_unchanged(network, batch, is_training):
    network.train(is_training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    seen = xray.explain(network, *batch, inhibited=INHIBITED, generator=seeded())
    assert network.training == is_training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(tensor.requires_grad for tensor in seen)


def test_identical_images_overlap_fully_with_any_ids_of_the_groups(network, batch):
    first, second = (
        xray.explain(network, *batch, inhibited=INHIBITED, generator=seeded()).assignments for _ in range(2)
    )
    assert xray.group_overlap(first, second) == [1.0] * 6
    assert xray.group_overlap(first, 2 - second) == [1.0] * 6


def test_overlap_is_the_adjusted_rand_index():
    # Of six pairs, each side puts two together and one is the same: (1 - 4/6) / ((2 + 2) / 2 - 4/6) = 0.25;
    # of crossed pairs none is: (0 - 4/6) / (2 - 4/6) = -0.5.
    first = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1]])
    second = torch.tensor([[0, 0, 1, 2], [0, 1, 0, 1]])
    # In the first row the second side has one pair: (1 - 2/6) / ((2 + 1) / 2 - 2/6) = 4/7.
    assert xray.group_overlap(first, second) == pytest.approx([4 / 7, -0.5])


@pytest.mark.slow
def test_groups_that_argue_against_the_class_are_drawn_grey_and_have_no_map(network, batch):
    images = torch.zeros(6, 32, 32, 3, dtype=torch.uint8)
    seen = xray.explain(network, *batch, inhibited=INHIBITED, generator=seeded())
    levels = torch.tensor([0.2, 0.9, 0.5])[None, :, None, None]
    seen = seen._replace(reversed_maps=levels.expand_as(seen.reversed_maps))
    seen = seen._replace(importance=torch.tensor([[3.0, -1.0, 2.0]] + [[-1.0, -2.0, -3.0]] * 5))
    answer = {"predicted": "1", "confidence": 0.5}
    row = {"image": 0, "label": "1", "clean": {"before": answer, "inhibited": answer}}
    row |= {"group_overlap": 0.25, "group_overlap_other_medoids": 0.5}
    axes = draw_xray(XRay(images, images + 200, seen, [row] * 6), title="", corruption="fog 3").axes
    bars, *maps = axes[1:5]
    assert [round(bar.get_width()) for bar in bars.patches] == [50, 33, -17]
    assert bars.get_yticklabels()[1].get_text().startswith("group 2: ")
    from matplotlib.colors import to_hex

    assert [to_hex(bar.get_facecolor()) for bar in bars.patches] == [*MAP_COLORS[:2], PASSING]
    assert [len(shown.images) for shown in maps] == [2, 2, 0]
    # 1 - R is how opaque the colour is.
    for shown, group in zip(maps, (0, 2), strict=False):
        opacity = shown.images[1].get_array()[..., 3].mean()
        assert opacity == pytest.approx(float(1 - seen.reversed_maps[0, group].mean()), abs=0.02)
    assert [len(shown.images) for shown in axes[8 + 2 : 8 + 5]] == [0, 0, 0]
    last = axes[7]
    assert (last.get_title(), last.get_xlabel()) == ("in fog 3", "agreement 0.25\nof another start 0.50")
    assert (last.images[0].get_array() == 200).all(), "the corrupted image, not the clean one"


def test_the_table_has_a_line_for_each_image_version_and_group():
    versions = {
        "clean": {"group_sizes": [3, 1], "group_importance": [0.5, -0.5]},
        "corrupted": {"group_sizes": [2, 2], "group_importance": [0.25, 0.0]},
    }
    row = {"image": 7, "label": "cat", "group_overlap": 0.5, "group_overlap_other_medoids": 0.75, **versions}
    assert table_rows([row], corruption="fog 3") == [
        [7, "cat", "clean", 0, 3, 0.5, 0.5, 0.75],
        [7, "cat", "clean", 1, 1, -0.5, 0.5, 0.75],
        [7, "cat", "fog 3", 0, 2, 0.25, 0.5, 0.75],
        [7, "cat", "fog 3", 1, 2, 0.0, 0.5, 0.75],
    ]


def test_no_figure_of_the_printed_table_is_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    version = {"group_sizes": [8] * 6, "group_importance": [0.5, -0.5, 0.0, 0.0, 0.0, 0.0]}
    row = {"image": 7, "label": "cat", "group_overlap": 0.5, "group_overlap_other_medoids": 0.75}
    print_rows([{**row, "clean": version, "corrupted": version}], title="6 groups", corruption="fog 3")
    assert capsys.readouterr().out.count("-50 % ") == 2
