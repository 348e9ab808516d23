"""The configuration in a run's folder: read as plain values, and all but fixed for a run that is resumed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tenet.compare.keys import differing_keys, flatten_config
from tenet.config.build import build
from tenet.config.identity import NOT_THE_EXPERIMENT, fixed_settings, is_compared
from tenet.config.run_config import read_config, resumed_config, run_id, write_config
from tenet.errors import ConfigError, DatasetError
from tests.config.options import composed


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder with a configuration."""
    write_config(composed("experiment=quickstart"), tmp_path / "run" / "config.yaml")
    return tmp_path / "run"


def rewrite(run_dir: Path, group: str, **changes: Any) -> None:
    path = run_dir / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config[group] |= changes
    path.write_text(yaml.safe_dump(config))


def test_a_configuration_is_read_as_it_was_written(run_dir: Path) -> None:
    assert read_config(run_dir) == composed("experiment=quickstart")
    assert [path.name for path in run_dir.iterdir()] == ["config.yaml"]


def test_a_configuration_is_written_whole_or_not_at_all(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_config(run_dir)

    def torn(self: Path, text: str) -> int:
        with self.open("w") as file:
            file.write(text[: len(text) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", torn)
    with pytest.raises(OSError, match="disk full"):
        write_config({**before, "seed": 5}, run_dir / "config.yaml")
    monkeypatch.undo()
    assert read_config(run_dir) == before


def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=rf"^{folder} is not a run folder: config\.yaml can't be read"):
            read_config(folder)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"seed: [1", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"!!python/object/apply:os.system ['true']", "is not YAML"),
        (b"- 1\n- 2\n", "holds no configuration"),
        (b"", "holds no configuration"),
        (b"seed: 1\ntrainer: {}\n", "it lacks dataset, backbone, tenet"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_name(
    tmp_path: Path, content: bytes, rule: str
) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"config\.yaml .*{rule}"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("group", "changes", "message"),
    [
        ("tenet", {"groups": 0}, "tenet.groups=0: must be an integer of at least 1"),
        ("tenet", {"gruops": 4}, "there is no key tenet.gruops; did you mean tenet.groups"),
        ("trainer", {"epochs": "${oc.env:HOME}"}, "trainer.epochs=${oc.env:HOME}: must be an integer"),
    ],
)
def test_a_configuration_that_breaks_a_rule_is_refused(
    run_dir: Path, group: str, changes: dict[str, Any], message: str
) -> None:
    rewrite(run_dir, group, **changes)
    for read in (lambda: read_config(run_dir), lambda: resumed_config(run_dir, [])):
        with pytest.raises(ConfigError) as error:
            read()
        assert str(error.value).startswith(message)


def test_nothing_in_the_configuration_of_a_run_is_interpolated(run_dir: Path) -> None:
    rewrite(run_dir, "dataset", _target_="tenet.data.Arrays", path="${oc.env:HOME}")
    assert read_config(run_dir)["dataset"]["path"] == "${oc.env:HOME}"
    config = resumed_config(run_dir, ["trainer.epochs=3"])
    with pytest.raises(DatasetError, match=r"dataset\.path=\$\{oc\.env:HOME\} is not a file"):
        build(config["dataset"], key="dataset").load()


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("trainer.epochs=6", "epochs", 6),
        ("trainer.max_steps=null", "max_steps", None),
        ("trainer.device=cpu", "device", "cpu"),
        ("trainer.evaluation_batch_size=7", "evaluation_batch_size", 7),
    ],
)
def test_a_resumed_run_may_change_how_far_and_where_it_trains(
    run_dir: Path, override: str, key: str, value: Any
) -> None:
    config = read_config(run_dir)
    config["trainer"][key] = value
    assert resumed_config(run_dir, [f"resume={run_dir}", "launcher=slurm", override]) == config


def test_a_run_that_is_resumed_with_more_epochs_keeps_its_schedule_and_is_another_run(run_dir: Path) -> None:
    own = read_config(run_dir)
    write_config(resumed_config(run_dir, ["trainer.epochs=9"]), run_dir / "config.yaml")
    extended = read_config(run_dir)
    assert (extended["trainer"]["epochs"], extended["trainer"]["schedule_epochs"]) == (
        9,
        own["trainer"]["epochs"],
    )
    planned = composed("experiment=quickstart", "trainer.epochs=9")
    assert differing_keys([flatten_config(extended), flatten_config(planned)]) == ("trainer.schedule_epochs",)
    assert fixed_settings(extended) == fixed_settings(own)
    assert fixed_settings(extended) != fixed_settings(planned)
    assert run_id(extended) != run_id(planned)
    assert (
        resumed_config(run_dir, ["trainer.epochs=12"])["trainer"]["schedule_epochs"]
        == own["trainer"]["epochs"]
    )
    back = resumed_config(run_dir, [f"trainer.epochs={own['trainer']['epochs']}"])
    assert back == own, "as if it had never been extended"


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "tenet.groups=4",
        "tenet=none",
        "trainer.batch_size=8",
        "trainer.schedule_epochs=9",
        "trainer.precision=bf16",
        "+trainer.epochs=3",
        "~trainer.epochs",
        "experiment=quickstart",
    ],
)
def test_a_resumed_run_stays_what_it_is(run_dir: Path, override: str) -> None:
    with pytest.raises(ConfigError) as error:
        resumed_config(run_dir, [f"resume={run_dir}", override])
    assert f"{override}: a resumed run keeps its configuration, except trainer.epochs" in str(error.value)


def test_what_a_resumed_run_changes_keeps_the_rules(run_dir: Path) -> None:
    for override in ("trainer.epochs=0", "trainer.device=tpu", "trainer.epochs=${oc.env:HOME}"):
        with pytest.raises(ConfigError, match=r"trainer\.\w+=.*: must be"):
            resumed_config(run_dir, [override])


@pytest.mark.parametrize(
    ("group", "old", "new"),
    [
        ("backbone", "tenet.backbones.ResNet", "tenet.networks.ResNet"),
        ("schedule", "tenet.schedule.Cosine", "tenet.training.schedule.Cosine"),
        ("trainer", "tenet.training_settings.TrainingSettings", "tenet.training.settings.TrainingSettings"),
    ],
)
def test_a_run_of_version_0_1_is_read_with_the_new_names(
    run_dir: Path, group: str, old: str, new: str
) -> None:
    expected = read_config(run_dir)
    rewrite(run_dir, group, _target_=old)
    assert read_config(run_dir) == expected
    assert expected[group]["_target_"] == new


@pytest.mark.parametrize(
    "target", ["os.system", "tenet.files.atomic.hold", "tenet.data.Digit", "", 5, ["os"]]
)
def test_a_class_that_is_not_allowed_is_refused_and_its_module_not_imported(
    run_dir: Path, target: Any
) -> None:
    rewrite(run_dir, "dataset", _target_=target)
    with pytest.raises(ConfigError, match=r"^dataset\._target_=.*: must be a class of tenet\.data"):
        read_config(run_dir)


def test_runs_of_one_id_are_in_one_group_of_a_comparison():
    assert not any(map(is_compared, NOT_THE_EXPERIMENT))
    assert is_compared("dataset.path")
