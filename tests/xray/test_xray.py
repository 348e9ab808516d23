"""What `python -m tenet.xray` computes, draws and refuses."""

import json
import time

import pytest
import torch
from torch import nn

from tenet import xray
from tenet.config.run_config import write_config
from tenet.files.weights import save_weights
from tenet.inhibition import channel_weights, group_channels, group_importance, inhibition_mask
from tenet.methods import CrossEntropy, Inhibited, importance_pass
from tenet.networks import Network, ResNet
from tenet.tracking import WandbTracking
from tenet.xray.__main__ import main
from tenet.xray.figures import TABLE_COLUMNS, XRay, print_rows, table_rows
from tenet.xray.picture import MAP_COLORS, PASSING, draw_xray
from tests.config.options import composed
from tests.tracking.wandb_offline import read_wandb_file, wandb_files

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


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run folder as training leaves it, whose classifier is right by its bias on every image of class 1."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    config = composed("experiment=quickstart", "dataset.fraction=0.1", "backbone.width=4", "tenet.groups=3")
    write_config(config, folder / "config.yaml")
    torch.manual_seed(0)
    model = ResNet(num_classes=10, depth=8, width=4)
    with torch.no_grad():
        model.head[-1].bias[1] = 1000
        for _ in range(10):  # statistics that fit, so that channels differ from image to image
            model(torch.rand(32, 3, 32, 32))
    save_weights(model, folder / "weights.safetensors")
    return folder


def test_the_command_writes_picture_and_figures_and_prints_a_table(run_dir, capsys):
    cell = ["--corruption", "contrast", "--severity", "5", "--groups", "4"]
    assert main([str(run_dir), "--images", "5", "2", "3", *cell]) == 0
    printed = capsys.readouterr().out
    assert "4 groups of channels at stage_2" in printed
    assert "contrast 5" in printed
    picture = run_dir / "evaluation" / "xray.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in printed
    figures = json.loads(picture.with_suffix(".json").read_text())
    about = {"layer": "stage_2", "groups": 4, "corruption": "contrast", "severity": 5}
    assert about.items() <= figures.items()
    assert [row["image"] for row in figures["images"]] == [5, 2, 3]
    assert min(row["group_overlap"] for row in figures["images"]) < 1
    for row in figures["images"]:
        assert row["clean"]["group_importance"] != row["corrupted"]["group_importance"]
        for version in ("clean", "corrupted"):
            assert sum(row[version]["group_sizes"]) == 8, "all channels at the cut are in a group"
            assert row[version]["before"]["predicted"] == "1"


def test_a_corruption_that_changes_nothing_leaves_the_groups_alone(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("tenet.corruptions.generator.corrupt", lambda images, **cell: images)
    output = tmp_path / "a.png"
    assert main([str(run_dir), "--images", "0", "1", "2", "--output", str(output)]) == 0
    rows = json.loads(output.with_suffix(".json").read_text())["images"]
    assert [row["group_overlap"] for row in rows] == [1.0] * 3, "the first medoids are the same"
    assert all(row["clean"] == row["corrupted"] for row in rows)
    assert min(row["group_overlap_other_medoids"] for row in rows) < 1


def test_without_images_the_first_right_one_of_each_class_is_taken(run_dir, tmp_path):
    from tenet.data import Digits

    output = tmp_path / "new" / "a.png"
    assert main([str(run_dir), "--output", str(output)]) == 0
    first = int((Digits().load().test.labels == 1).nonzero()[0])
    images = json.loads(output.with_suffix(".json").read_text())["images"]
    assert [(row["image"], row["label"]) for row in images] == [(first, "1")], "no other class is ever right"


def test_a_plain_run_is_cut_with_the_defaults_unless_options_are_given(run_dir, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    write_config(composed("experiment=quickstart", "backbone.width=4", "tenet=none"), plain / "config.yaml")
    (plain / "weights.safetensors").write_bytes((run_dir / "weights.safetensors").read_bytes())
    for arguments, layer, groups in (
        ([], "stage_2", 6),
        (["--layer", "stage_1", "--groups", "2"], "stage_1", 2),
    ):
        assert main([str(plain), "--images", "0", *arguments]) == 0
        figures = json.loads((plain / "evaluation" / "xray.json").read_text())
        assert (figures["layer"], figures["groups"]) == (layer, groups)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "0", "360"], "--images 360: the test images are 0 to 359"),
        (["--images", "-1"], "--images -1: the test images are 0 to 359"),
        (["--layer", "stage_9"], "--layer=stage_9 is no module of ResNet; some of its"),
        (["--groups", "9"], "--groups=9 exceeds the 8 channels at layer stage_2"),
        (["--groups", "0"], "--groups=0 must be an integer of at least 1"),
        (["--corruption", "frog"], "--corruption frog: not there; did you mean fog"),
        (["--output", "x.jpg"], "--output x.jpg: must be a .png file"),
    ],
)
def test_a_wrong_option_is_an_error_of_one_line(run_dir, capsys, arguments, message):
    assert main([str(run_dir), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


def test_a_folder_that_is_no_run_and_a_run_without_a_right_answer_are_refused(run_dir, tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} is not a run folder")
    blind = ResNet(num_classes=10, depth=8, width=4)
    with torch.no_grad():
        blind.head[-1].bias[9] = 1000
    (tmp_path / "config.yaml").write_bytes((run_dir / "config.yaml").read_bytes())
    save_weights(blind, tmp_path / "weights.safetensors")
    assert main([str(tmp_path)]) == 1
    assert "no image of the first 4 classes is classified right" in capsys.readouterr().err


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


@pytest.fixture
def wandb_run(run_dir, tmp_path):
    """The run's folder with a W&B run of its own."""
    config = composed("experiment=quickstart", "backbone.width=4", "tenet.groups=3")
    config["tracking"] = composed("tracking=wandb", "tracking.mode=offline")["tracking"]
    write_config(config, tmp_path / "config.yaml")
    (tmp_path / "weights.safetensors").write_bytes((run_dir / "weights.safetensors").read_bytes())
    WandbTracking(mode="offline").start(tmp_path, config=config).finish()
    return tmp_path


def test_picture_and_table_go_into_the_runs_own_wandb_run(wandb_run):
    time.sleep(1)  # wandb names the folder of a part of a run by its id and the second
    assert main([str(wandb_run), "--images", "5"]) == 0
    first, later = map(read_wandb_file, wandb_files(wandb_run))
    assert later.run.run_id == first.run.run_id
    assert later.summary["xray/picture"]["_type"] == "image-file"
    assert later.summary["xray/groups"]["_type"] == "table-file"
    # Two versions of one image, three groups.
    shape = (later.summary["xray/groups"]["nrows"], later.summary["xray/groups"]["ncols"])
    assert shape == (6, len(TABLE_COLUMNS))


def test_a_run_without_a_wandb_run_gets_none(wandb_run):
    (wandb_run / "wandb.json").unlink()
    before = wandb_files(wandb_run)
    assert main([str(wandb_run), "--images", "5"]) == 0
    assert wandb_files(wandb_run) == before


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


def test_weights_that_give_no_numbers_are_refused_in_one_line(run_dir, tmp_path, capsys):
    (tmp_path / "config.yaml").write_bytes((run_dir / "config.yaml").read_bytes())
    broken = ResNet(num_classes=10, depth=8, width=4)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    save_weights(broken, tmp_path / "weights.safetensors")
    assert main([str(tmp_path), "--images", "0"]) == 1
    error = capsys.readouterr().err
    assert "weights.safetensors: at stage_2, features contain NaN or infinity" in error
    assert error.count("\n") == 1
