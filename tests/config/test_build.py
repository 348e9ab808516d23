"""From YAML to values and objects: every option builds, and nothing that a configuration says can run code."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

from tenet.config.build import ALLOWED_TARGETS, build, locate, prefix_errors
from tenet.config.run_config import RUN_KEYS
from tenet.errors import ConfigError, DatasetError
from tenet.experiment import Experiment
from tenet.methods import CrossEntropy, Inhibited
from tenet.networks import ResNet
from tests.config.options import CONF, GROUPS, OPTIONS, build_group, composed, composed_with


def test_every_group_of_the_configuration_is_built_in_a_test() -> None:
    folders = {path.name for path in CONF.iterdir() if path.is_dir()}
    # The launcher and the suite are no parts of a run: tests/launching/test_executors.py, tests/config/test_plugins.py.
    # The validation is left out of a run that has none: tests/training/test_corrupted_validation.py.
    assert folders - {"hydra", "experiment", "launcher", "suite", "validation"} == set(GROUPS)
    assert ("seed", *GROUPS) == RUN_KEYS


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=map("=".join, OPTIONS))
def test_every_option_composes_and_builds_with_all_its_values(group: str, option: str) -> None:
    config = composed_with(group, option)
    built = build_group(group, config)
    expected = config[group]["_target_"]
    if expected is None:
        assert built is None
        return
    name = expected.rpartition(".")[2]
    assert type(built).__name__ == (name if name[0].isupper() else "ResNet"), "functions build ResNets"
    for name, value in config[group].items():
        settings = built.defaults if group == "optimizer" else vars(built)
        if name in settings:
            assert settings[name] == value or list(settings[name]) == value, name


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("dataset", "tenet.data.ImageArrays"),
        ("augment", "tenet.augment.augmix.AugMixDraws"),
        ("optimizer", "torch.optim.lr_scheduler.LambdaLR"),
        ("schedule", "tenet.training.schedule.Schedule"),
        ("tenet", "tenet.methods.Batch"),
        ("tracking", "tenet.tracking.Tracker"),
        ("launcher", "tenet.launching.job.Job"),
    ],
)
def test_a_class_of_the_right_package_and_the_wrong_kind_is_refused(key: str, target: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}[.:]"):
        build({"_target_": target}, key=key)
    if not target.endswith("Schedule"):  # the base class itself is of the right kind, but abstract
        with pytest.raises(ConfigError, match=rf"{target}: must derive from "):
            locate(target, key=key)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [option for group, option in OPTIONS if group == "backbone"])
def test_the_default_inhibition_fits_every_backbone(backbone: str) -> None:
    default = composed("trainer.device=cpu")
    assert Experiment({**default, "backbone": composed_with("backbone", backbone)["backbone"]}).outline.cut


def test_the_default_is_the_official_recipe() -> None:
    official = {
        "tenet": {
            "layer": "stage_2",
            "groups": 6,
            "weight": 0.1,
            "orthogonality": 1e-3,
            "interval": 3,
            "start_step": 500,
        },
        "optimizer": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
        "schedule": {"final_factor": 1e-5, "warmup_steps": 0},
        "backbone": {"depth": 29, "cardinality": 4, "base_width": 32, "widen_factor": 4},
        "augment": {"severity": 3.0, "width": 3, "depth": 0, "clean_view": True},
        "trainer": {"epochs": 200, "batch_size": 256},
    }
    config = composed()
    assert {
        group: {name: config[group][name] for name in values} for group, values in official.items()
    } == official


def test_the_evaluation_composes_with_no_subject_and_with_one() -> None:
    assert "dataset" not in {key for key, value in composed(name="evaluate").items() if value is not None}
    config = composed("dataset=digits", "backbone=resnet8", "weights=w.pth", name="evaluate")
    assert isinstance(build_group("backbone", config), ResNet)


def test_null_builds_nothing() -> None:
    assert build(None, key="tenet") is None
    assert build({"_target_": None}, key="tenet") is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"layer": "stage_2", "groups": 0}, r"^tenet\.groups=0 must be an integer of at least 1"),
        ({"layer": "stage_2", "group": 4}, r"^tenet: .*'group'"),
        ({}, "^tenet: .*'layer'"),
    ],
)
def test_what_a_constructor_refuses_is_told_with_its_key(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build({"_target_": "tenet.methods.Inhibited", **config}, key="tenet", method=CrossEntropy())


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "pathlib.Path",
        "torch.load",
        "torch.nn.Linear",
        "tenet.training.checkpoint.Checkpoints",
        "tenet.training.checkpoint.os",
        "tenet.training.checkpoint.os.system",
        "tenet.data.datasets.Path",
        "tenet.data.datasets.socket.socket",
        "tenet.tracking.os",
        "tenet.tracking.os.system",
        "tenet.training.loop.nn.Linear",
        "tenet.datasets.Digits",
        "tenet.data_of_others.Digits",
        "tenet.data.Digit",
        "tenet.data.nowhere.Digits",
        "tenet.data",
        "torch.optim.sgd.torch.os.system",
        "torch.optim.sgd.torch.load",
        "torch.optim.sgd.Tensor",
        "torch.optim",
        "torch.optim.",
        "torch.optimizers.SGD",
        ".os.system",
        "Digits",
        "",
    ],
)
def test_a_target_that_no_allowed_module_defines_is_refused(target: str) -> None:
    with pytest.raises(ConfigError) as error:
        locate(target, key="dataset")
    assert f"dataset._target_={target}: must be a class of tenet.data" in str(error.value)


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("dataset", "tenet.data.to_images_01"),
        ("optimizer", "torch.optim.sgd.sgd"),
        ("trainer", "tenet.training.loop.train"),
        ("dataset", "tenet.data.arrays"),
    ],
)
def test_a_target_that_is_no_class_is_refused(key: str, target: str) -> None:
    with pytest.raises(ConfigError, match="must be a class of"):
        locate(target, key=key)


def test_a_class_of_another_group_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be a class of tenet\.methods"):
        locate("tenet.data.Digits", key="tenet")


def test_a_module_whose_name_only_begins_like_an_allowed_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lookalike = ModuleType("tenet.data_of_others")
    lookalike.Digits = type("Digits", (), {"__module__": lookalike.__name__})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, lookalike.__name__, lookalike)
    with pytest.raises(ConfigError, match="must be a class of"):
        locate("tenet.data_of_others.Digits", key="dataset")


@pytest.mark.parametrize("target", [5, ["os.system"], {"a": 1}, True])
def test_a_target_that_is_no_text_is_refused(target: Any) -> None:
    with pytest.raises(ConfigError, match="must be a class of"):
        build({"_target_": target}, key="dataset")


def test_a_class_is_found_where_its_package_names_it() -> None:
    assert locate("tenet.methods.Inhibited", key="tenet") is Inhibited
    assert locate("torch.optim.SGD", key="optimizer") is torch.optim.SGD


def test_every_allowed_module_has_an_option_that_needs_it() -> None:
    targets = [
        yaml.safe_load((CONF / group / f"{option}.yaml").read_text())["_target_"] for group, option in OPTIONS
    ]
    used = {target.rpartition(".")[0] for target in targets if target is not None}
    assert used == {
        allowed.package
        for key, allowed in ALLOWED_TARGETS.items()
        if key not in ("launcher", "suite", "validation")
    }


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ValueError("groups=700 exceeds the 512 channels"), "tenet.groups=700 exceeds the 512 channels"),
        (ValueError("tenet.groups=0 is too few"), "tenet.groups=0 is too few"),
        (TypeError("missing argument: 'layer'"), "tenet: missing argument: 'layer'"),
    ],
)
def test_naming_puts_the_key_before_what_was_refused(raised: Exception, told: str) -> None:
    with pytest.raises(ConfigError) as error, prefix_errors("tenet"):
        raise raised
    assert str(error.value) == told
    assert error.value.__cause__ is raised


def test_naming_leaves_told_errors_and_defects_as_they_are() -> None:
    for raised in (DatasetError("own.npz is not a file"), RuntimeError("a defect")):
        with pytest.raises(type(raised)) as error, prefix_errors("dataset"):
            raise raised
        assert error.value is raised


def test_interpolations_are_resolved_and_a_wrong_one_is_told() -> None:
    assert composed("seed=7", "tracking.name=seed-${seed}")["tracking"]["name"] == "seed-7"
    with pytest.raises(ConfigError, match=r"tracking\.name: .*nowhere"):
        composed("tracking.name=${nowhere}")


def test_links_in_a_circle_are_left_to_whoever_opens_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("first").symlink_to("second")
    Path("second").symlink_to("first")
    config = composed("dataset=arrays", "dataset.path=first")
    with pytest.raises(DatasetError, match="first is not a file"):
        build(config["dataset"], key="dataset").load()
