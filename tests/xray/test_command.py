"""`python -m tenet.xray`: what it writes, prints and refuses."""

import json
import time

import pytest
import torch

from tenet.config.run_config import write_config
from tenet.files.weights import save_weights
from tenet.networks import ResNet
from tenet.tracking import WandbTracking
from tenet.xray.__main__ import main
from tenet.xray.figures import TABLE_COLUMNS
from tests.config.options import composed
from tests.tracking.wandb_offline import read_wandb_file, wandb_files


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


@pytest.mark.slow
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


@pytest.fixture
def wandb_run(run_dir, tmp_path):
    """The run's folder with a W&B run of its own."""
    config = composed("experiment=quickstart", "backbone.width=4", "tenet.groups=3")
    config["tracking"] = composed("tracking=wandb", "tracking.mode=offline")["tracking"]
    write_config(config, tmp_path / "config.yaml")
    (tmp_path / "weights.safetensors").write_bytes((run_dir / "weights.safetensors").read_bytes())
    WandbTracking(mode="offline").start(tmp_path, config=config).finish()
    return tmp_path


@pytest.mark.slow
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
