"""What is evaluated: a run or a file of weights, on which data."""

import json
from dataclasses import replace

import pytest
import torch
import yaml

from tenet.data import ImageArrays
from tenet.errors import ConfigError
from tenet.evaluation.measures import Measures
from tenet.evaluation.robustbench import Model
from tenet.evaluation.suites.clean import Clean
from tenet.evaluation.target import EvaluationTarget
from tenet.files.weights import save_weights
from tenet.networks import ResNet, WideResNet
from tenet.run.weights import find_weights

BACKBONE = {"_target_": "tenet.networks.ResNet", "depth": 8, "width": 4}
DIGITS = {"_target_": "tenet.data.Digits", "mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}
CIFAR = {"_target_": "tenet.data.Cifar", "name": "cifar100"}


def make_config(**changes):
    return {
        "run": None,
        "weights": None,
        "dataset": None,
        "backbone": None,
        "tracking": None,
        "channels_last": None,
        "precision": "bf16",
        **changes,
    }


@pytest.fixture
def run_dir(tmp_path):
    """A finished run, as evaluate.py reads it."""
    folder = tmp_path / "mine"
    folder.mkdir()
    names = ("tenet", "augment", "optimizer", "schedule", "tracking")
    config = {"seed": 0, "dataset": DIGITS, "backbone": BACKBONE, "trainer": {"channels_last": True}}
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, **{name: {} for name in names}}))
    torch.manual_seed(0)
    save_weights(ResNet(num_classes=10, depth=8, width=4), folder / "weights.safetensors")
    return folder


def test_a_run_brings_its_own_data_set_backbone_and_memory_format(run_dir):
    target = EvaluationTarget.from_config(make_config(run=str(run_dir)))
    assert (target.weights, target.run_dir) == (run_dir / "weights.safetensors", run_dir)
    assert (target.dataset, target.backbone) == (DIGITS, BACKBONE)
    assert target.has_own_dataset
    assert target.channels_last
    assert target.model == Model(
        name="mine", dataset="digits", architecture="ResNet-8 (width 4)", method="backbone=resnet8"
    )
    assert not EvaluationTarget.from_config(make_config(run=str(run_dir), channels_last=False)).channels_last
    other = EvaluationTarget.from_config(make_config(run=str(run_dir), dataset=CIFAR))
    assert other.dataset == CIFAR
    assert not other.has_own_dataset
    assert other.model.dataset == "cifar100"


def test_the_network_has_the_weights_and_the_normalisation_of_the_data_set(run_dir):
    target = EvaluationTarget.from_config(make_config(run=str(run_dir)))
    network = target.load_network(classes=tuple("0123456789"), device=torch.device("cpu"))
    torch.manual_seed(0)
    expected = ResNet(num_classes=10, depth=8, width=4).state_dict()
    loaded = network.backbone.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())
    assert network.mean.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert network.std.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert network.precision == "bf16"
    assert network.memory_format == torch.channels_last
    assert next(network.parameters()).is_contiguous(memory_format=torch.channels_last)


INTERFACE = {
    "mean": [0.1, 0.2, 0.3],
    "std": [0.7, 0.8, 0.9],
    "classes": list("abcdefghij"),
    "image_size": [8, 8],
}
FOLDER = {
    "_target_": "tenet.data.Folder", "path": "images", "resize": 256, "crop": 224, "mean": [0.5] * 3, "std": [0.5] * 3
}  # fmt: skip


def test_only_typed_keys_change_how_images_are_prepared(run_dir, caplog):
    """Of a run whose weights say nothing, of one whose weights do, and of these weights without their run."""

    def prepared(typed=(), **changes):
        dataset = EvaluationTarget.from_config(make_config(**changes), typed=typed).preparation.dataset_config
        return [dataset[name] for name in ("mean", "std", "resize", "crop")]

    beside_run = {"run": str(run_dir), "dataset": FOLDER}
    assert prepared(**beside_run) == [DIGITS["mean"], DIGITS["std"], None, None]
    weights = run_dir / "weights.safetensors"
    alone = {"weights": str(weights), "backbone": BACKBONE, "dataset": FOLDER}
    assert not caplog.text
    assert prepared(**alone) == [[0.5] * 3, [0.5] * 3, 256, 224]
    assert "assuming dataset.mean=[0.5, 0.5, 0.5]" in caplog.text
    save_weights(ResNet(num_classes=10, depth=8, width=4), weights, interface=INTERFACE)
    caplog.clear()
    own = [INTERFACE["mean"], INTERFACE["std"], None, None]
    assert prepared(**beside_run) == prepared(**alone) == own
    assert not caplog.text
    typed = ("dataset.path", "dataset.std", "dataset.crop")
    assert prepared(typed=typed, **alone) == [INTERFACE["mean"], [0.5] * 3, None, 224]
    assert (
        "dataset.std=[0.5, 0.5, 0.5] was given; the network was trained with [0.7, 0.8, 0.9]" in caplog.text
    )


def test_images_of_another_folder_are_cut_and_turned_as_those_of_the_training(run_dir):
    """By the run's configuration, or by the weights alone; unless it is typed."""
    trained = {**FOLDER, "_target_": "tenet.data.ImageFolders", "resize": 40, "crop": 8, "upright": True}
    config = {**yaml.safe_load((run_dir / "config.yaml").read_text()), "dataset": trained}
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    weights, network = run_dir / "weights.safetensors", ResNet(num_classes=10, depth=8, width=4)
    description = {"backbone": BACKBONE, "resize": 40, "upright": True}
    save_weights(network, weights, interface=INTERFACE, description=description)
    other = {**FOLDER, "upright": False}
    for source in ({"run": str(run_dir)}, {"weights": str(weights), "backbone": BACKBONE}):
        for typed, expected in [((), [40, 8, True]), (("dataset.upright", "dataset.crop"), [40, 224, False])]:
            target = EvaluationTarget.from_config(make_config(**source, dataset=other), typed=typed)
            assert [
                target.preparation.dataset_config[name] for name in ("resize", "crop", "upright")
            ] == expected
        digits = EvaluationTarget.from_config(make_config(**source, dataset=DIGITS))
        assert digits.preparation.dataset_config.keys() == DIGITS.keys()


def test_weights_that_also_fit_a_network_that_they_were_not_trained_in_are_told(tmp_path, caplog):
    trained = {"_target_": "tenet.networks.WideResNet", "depth": 10, "widen_factor": 1, "dropout": 0.3}
    path = tmp_path / "w.safetensors"
    network = WideResNet(num_classes=10, depth=10, widen_factor=1)
    save_weights(network, path, interface=INTERFACE, description={"backbone": trained})
    for backbone, is_told in [({**trained, "dropout": 0.0}, True), ({**trained, "weights": None}, False)]:
        caplog.clear()
        config = make_config(weights=str(path), dataset=DIGITS, backbone=backbone)
        EvaluationTarget.from_config(config).load_network(classes=(), device=torch.device("cpu"))
        assert (f"{path} was trained with backbone.dropout=0.3;" in caplog.text) == is_told


def test_an_option_of_tracking_does_not_replace_the_run_s_project(run_dir):
    own = yaml.safe_load((run_dir / "config.yaml").read_text())
    own["tracking"] = {"_target_": "tenet.tracking.WandbTracking", "project": "mine", "mode": "offline"}
    (run_dir / "config.yaml").write_text(yaml.safe_dump(own))
    option = {"_target_": "tenet.tracking.WandbTracking", "project": "tenet", "mode": "online"}
    changes = {"run": str(run_dir), "tracking": option}
    target = EvaluationTarget.from_config(make_config(**changes), typed=("tracking.mode",))
    assert (target.tracking["project"], target.tracking["mode"]) == ("mine", "online")


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        (CIFAR, "cifar100"),
        ({"_target_": "tenet.data.Arrays", "path": "/data/flowers.npz"}, "flowers"),
        ({"_target_": "tenet.data.Folder", "path": "/data/ILSVRC2012/val"}, "ILSVRC2012"),
        ({"_target_": "tenet.data.Folder", "path": "/data/my.flowers"}, "my.flowers"),
    ],
)
def test_a_data_set_is_reported_under_its_own_name(run_dir, dataset, name):
    assert EvaluationTarget(run_dir, dataset=dataset, backbone=BACKBONE).model.dataset == name


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        ({"_target_": "tenet.networks.ResNet", "depth": 20, "width": 16}, "ResNet-20"),
        ({"_target_": "tenet.networks.WideResNet", "depth": 40, "widen_factor": 2}, "WideResNet-40-2"),
        ({"_target_": "tenet.networks.ResNeXt", "depth": 29, "cardinality": 4, "base_width": 32}, "ResNeXt-29 4x32d"),
        ({"_target_": "tenet.networks.imagenet_resnet", "blocks": [3, 4, 6, 3]}, "ResNet-50"),
    ],
)  # fmt: skip
def test_an_architecture_is_reported_with_depth_and_width(run_dir, backbone, name):
    assert EvaluationTarget(run_dir, dataset=CIFAR, backbone=backbone).model.architecture == name


def test_the_identity_holds_all_that_predictions_depend_on(run_dir):
    def identity(*, batch_size=100, **changes):
        target = EvaluationTarget.from_config(make_config(run=str(run_dir), **changes))
        return target.identity(device=torch.device("cpu"), batch_size=batch_size)

    before = identity()
    assert identity() == before
    for changed in (identity(batch_size=7), identity(precision="fp32"), identity(channels_last=False)):
        assert {key for key in before if before[key] != changed[key]} == {"arithmetic"}
    save_weights(ResNet(num_classes=10, depth=8, width=4), run_dir / "weights.safetensors")
    assert {key for key in before if before[key] != identity()[key]} == {"weights"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "give run=RUN_DIR, or weights=FILE"),
        ({"run": "mine", "weights": "mine/weights.safetensors"}, "give run=RUN_DIR, or weights=FILE"),
        ({"weights": "nowhere.pth"}, "weights=nowhere.pth is not a file"),
        ({"weights": "mine/weights.safetensors", "backbone": BACKBONE}, "also needs dataset=OPTION"),
        ({"weights": "mine/weights.safetensors", "dataset": DIGITS}, "also needs backbone=OPTION"),
        ({"run": "nowhere"}, "nowhere is not a run folder"),
    ],
)
def test_what_is_no_target_is_refused(run_dir, monkeypatch, changes, message):
    monkeypatch.chdir(run_dir.parent)
    with pytest.raises(ConfigError, match=message):
        EvaluationTarget.from_config(make_config(**changes))


def test_a_run_without_weights_and_checkpoints_is_refused(run_dir):
    (run_dir / "weights.safetensors").unlink()
    with pytest.raises(ConfigError, match="there are no weights and no checkpoint to evaluate"):
        find_weights(run_dir)


def test_reports_of_other_measurements_have_other_names(run_dir):
    target = EvaluationTarget.from_config(make_config(run=str(run_dir)))
    assert target.report_path(None, marks=[]) == run_dir / "evaluation" / "corruptions.json"
    marked = target.report_path(None, marks=["files", "part"])
    assert marked == run_dir / "evaluation" / "corruptions-files-part.json"
    alone = EvaluationTarget(run_dir / "w.pth", dataset=DIGITS, backbone=BACKBONE)
    assert alone.report_path(None, marks=["part"]) == run_dir / "w-evaluation" / "corruptions-part.json"
    chosen = replace(alone, weights_key=".")
    assert chosen.report_path(None, marks=[]) == run_dir / "w-top-level-evaluation" / "corruptions.json"
    assert alone.report_path("x.json", marks=["part"]).name == "x.json"
    with pytest.raises(ConfigError, match=r"output=x\.txt: must be a \.json file"):
        alone.report_path("x.txt", marks=[])


def test_test_images_are_the_runs_own_by_the_record_of_the_training_or_else_by_the_settings(run_dir):
    clean = Clean(
        ImageArrays(torch.zeros(4, 8, 8, 3, dtype=torch.uint8), torch.arange(4) % 2, ("a", "b")), Measures()
    )

    def is_own(**changes):
        target = EvaluationTarget.from_config(make_config(run=str(run_dir), **changes))
        return target.measurement([clean]).is_own_data

    retyped = {"_target_": "tenet.data.Digits", "fraction": 0.5}
    assert is_own()
    assert is_own(dataset=retyped), "no setting of the test images differs"
    assert not is_own(dataset=CIFAR)
    for fingerprint, expected in ((clean.test.fingerprint(), True), ("another", False)):
        (run_dir / "origin.json").write_text(json.dumps({"data": {"test": fingerprint}}))
        assert (is_own(), is_own(dataset=CIFAR)) == (expected, expected)
