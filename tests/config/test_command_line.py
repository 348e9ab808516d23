"""What the command line asks for is checked before anything starts, and the right name is told."""

import time
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from tenet.config.command_line import check_command_line
from tenet.config.run_config import write_config
from tenet.errors import ConfigError
from tests.config.options import CONF, composed


def check(*arguments: str, name: str = "train") -> list[str]:
    return check_command_line(arguments, config_dir=CONF, config_name=name)


def refusal(*arguments: str, name: str = "train") -> str:
    with pytest.raises(ConfigError) as error:
        check(*arguments, name=name)
    assert "\n" not in str(error.value), "errors are told in one line"
    return str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [
            "seed=3", "++tenet.groups=4", "trainer.max_steps=null", "tracking.tags=[a,b]", "tracking.name=seed-${seed}",
            "hydra.run.dir=somewhere", "hydra.verbose=true", "resume=null",
        ],
        [
            "tenet=none", "dataset=arrays", "dataset.path=own.npz", "optimizer=adamw", "optimizer.lr=1e-3",
            "optimizer.betas=[0.8,0.9]", "+optimizer.amsgrad=true", "tracking.name='groups=2, 3 (first)'",
            'tracking.notes="a, b"',
        ],
        ["-m", "seed=0,1", "tenet.groups=2,4", "tenet.interval=range(1,4)"],
        ["-m", "tenet=none,inhibition", "tracking.name='a, b','c=d'"],
        ["-m", "augment=glob(*)", "seed=0,1"],
        ["--cfg", "job", "experiment=quickstart", "tenet.start_step=0"],
    ],
)  # fmt: skip
def test_a_right_command_line_passes_and_gives_its_overrides(arguments: list[str]) -> None:
    assert check(*arguments) == [argument for argument in arguments if "=" in argument]


def test_the_examples_of_the_evaluation_pass() -> None:
    check("run=runs/one", "corruptions.names=[fog,snow]", "corruptions.severities=[3]", name="evaluate")
    check("weights=model.pth", "backbone=resnext29", "dataset=cifar10", name="evaluate")
    check("run=runs/one", "dataset=arrays", "dataset.path=own.npz", "tracking=none", name="evaluate")


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        # A misspelt key, option, group
        (["tenet.group=4"], "there is no key tenet.group; did you mean tenet.groups"),
        (["groups=4"], "there is no key groups; did you mean tenet.groups"),
        (["batch_size=8"], "there is no key batch_size; did you mean trainer.batch_size"),
        (["dataset=cifar1000"], "dataset=cifar1000: no such option; did you mean cifar100, cifar10"),
        (
            ["tenet=inhibit"],
            "tenet=inhibit: no such option; did you mean inhibition?; the options are inhibition, none",
        ),
        (["trainer=fast"], "trainer=fast: no such option; the options are default"),
        (["experiment=quikstart"], "experiment=quikstart: no such option; did you mean quickstart"),
        (["backbon=resnet8"], "there is no key backbon; did you mean backbone"),
        (["tenet=null"], "tenet=null: no such option"),
        # A key of another option
        (
            ["dataset.path=own.npz"],
            "the chosen dataset has no key dataset.path; choose another dataset=OPTION",
        ),
        (["tenet=none", "tenet.groups=4"], "the chosen tenet has no key tenet.groups"),
        # Values of the wrong kind, and out of range
        (["tenet.groups=four"], "tenet.groups=four: must be an integer of at least 1"),
        (["tenet.groups='4'"], "tenet.groups=4: must be an integer"),
        (["tenet.groups=null"], "tenet.groups=null: must be an integer"),
        (["tenet.groups={a:1}"], "tenet.groups={'a': 1}: must be an integer"),
        (["tenet={groups:0}"], "tenet.groups=0: must be an integer"),
        (["++tenet.groups=0"], "tenet.groups=0: must be an integer"),
        (["experiment=quickstart", "tenet.groups=0"], "tenet.groups=0: must be an integer"),
        (["optimizer.lr=nan"], "optimizer.lr=nan: must be a number of more than 0"),
        (["dataset.std=[1,1]"], "dataset.std=[1, 1]: must be a list of 3 of a number of more than 0"),
        (["trainer.device=tpu"], "trainer.device=tpu: must be one of auto, cpu, cuda"),
        (["seed=${oc.env:HOME}"], "seed=/"),
        (["seed=${nowhere}"], "seed: Interpolation key 'nowhere' not found"),
        # Values that are missing
        (["dataset=arrays"], "dataset.path is missing: give dataset.path=VALUE"),
        (["tenet.groups"], "tenet.groups can't be read as KEY=VALUE"),
        (["tenet.groups=[1"], "tenet.groups=[1 can't be read as KEY=VALUE"),
        (["seed=1", "tracking.name=a (b"], "tracking.name=a (b can't be read as KEY=VALUE"),
        # Keys that nothing would read, and keys that must stay
        (["+new=1"], "there is no key new"),
        (["+tenet.group=4"], "there is no key tenet.group; did you mean tenet.groups"),
        (["+run=runs/one"], "there is no key run"),
        (["~tenet"], "~tenet: keys can't be removed; choose another option, such as tenet=none"),
        (["~seed"], "~seed: keys can't be removed"),
        # Sweeps
        (["seed=1,2"], "seed=1,2 is a sweep: add -m"),
        (["tenet=none,inhibition"], "tenet=none,inhibition is a sweep: add -m"),
        (
            ["-m", "seed=1,2", "tenet.groups=4,2,0", "tenet.interval=1,2"],
            "tenet.groups=0: must be an integer",
        ),
        (["-m", "tenet.interval=range(-1,4)"], "tenet.interval=-1: must be an integer"),
        (["-m", "tenet.groups=choice(1,0)"], "tenet.groups=0: must be an integer"),
        (["-m", "dataset=digits,cifar1"], "dataset=cifar1: no such option; did you mean cifar10"),
        (["-m", "dataset=digits,arrays"], "dataset.path is missing"),
        (["-m", "augment=glob(*)", "tenet.groups=4,0"], "tenet.groups=0: must be an integer"),
        (["-m", "tenet.gruops=2,4"], "there is no key tenet.gruops; did you mean tenet.groups"),
    ],
)
def test_a_wrong_command_line_is_refused_with_the_right_name(arguments: list[str], start: str) -> None:
    assert refusal(*arguments).startswith(start)
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["corruption.names=[fog]"], "there is no key corruption.names; did you mean corruptions.names"),
        (
            ["corruptions.severities=[6]"],
            "corruptions.severities=[6]: must be a list of an integer of at least 1",
        ),
        (["corruptions=3"], "there is no key corruptions"),
        (
            ["run=x", "dataset.path=y"],
            "there is no key dataset.path unless dataset is chosen; add dataset=OPTION",
        ),
        (["backbone=resnet"], "backbone=resnet: no such option; did you mean resnet8"),
        (["resume=runs/one"], "there is no key resume"),
        (["tenet.groups=4"], "there is no key tenet.groups"),
    ],
)
def test_a_wrong_evaluation_is_refused_with_the_right_name(arguments: list[str], start: str) -> None:
    assert refusal(*arguments, name="evaluate").startswith(start)


@pytest.mark.parametrize("flag", ["--help", "--hydra-help", "--info=all"])
def test_flags_that_only_print_are_left_to_hydra(flag: str) -> None:
    assert check(flag, "tenet.groups=0") == []


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    write_config(composed("dataset=arrays", "dataset.path=own.npz"), tmp_path / "run" / "config.yaml")
    return tmp_path / "run"


def test_a_run_is_taken_up_with_its_own_configuration(run_dir: Path) -> None:
    arguments = [f"resume={run_dir}", "trainer.epochs=300", "hydra.run.dir=somewhere"]
    assert check(*arguments) == arguments


def test_a_run_is_taken_up_with_other_workers_though_the_default_data_set_has_none(run_dir: Path) -> None:
    arguments = [f"resume={run_dir}", "dataset.workers=1"]
    assert refusal(*arguments).startswith("there is no key dataset.workers")
    write_config(composed("dataset=images", "dataset.path=own"), run_dir / "config.yaml")
    assert check(*arguments) == arguments
    assert refusal(arguments[0], "dataset.workers=many").startswith("dataset.workers=many: must be")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tenet.groups=4", "tenet.groups=4: a resumed run keeps its configuration, except trainer.epochs"),
        ("tenet=none", "tenet=none: a resumed run keeps its configuration"),
        ("tenet.gruops=4", "there is no key tenet.gruops; did you mean tenet.groups"),
        ("trainer.epochs=0", "trainer.epochs=0: must be an integer of at least 1"),
        ("+new=1", "there is no key new"),
    ],
)
def test_what_can_not_change_on_resuming_is_refused(run_dir: Path, override: str, message: str) -> None:
    assert refusal(f"resume={run_dir}", override).startswith(message)


def test_a_folder_that_can_not_be_resumed_is_refused(tmp_path: Path) -> None:
    assert refusal(f"resume={tmp_path / 'nowhere'}").startswith(f"{tmp_path / 'nowhere'} is not a run folder")


def test_long_ranges_are_checked_at_their_ends() -> None:
    start = time.process_time()
    check("-m", "seed=range(0,1000)")
    assert time.process_time() - start < 5
    assert "seed=-1" in refusal("-m", "seed=range(100,-2,-1)")


def test_a_group_that_this_command_does_not_take_is_told_as_such() -> None:
    with pytest.raises(ConfigError, match=r"^evaluate\.py takes no tenet=OPTION \(see --help\)$"):
        check("run=nowhere", "tenet=none", name="evaluate")


def test_a_list_without_brackets_is_told_how_to_write_it() -> None:
    with pytest.raises(ConfigError, match=r"; write corruptions\.names=\[fog\]$"):
        check("run=nowhere", "corruptions.names=fog", name="evaluate")


def test_evaluations_that_would_overwrite_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^corruptions\.seed: the evaluations would overwrite"):
        check("-m", "run=nowhere", "corruptions.seed=0,1", name="evaluate")
