"""Invalid command lines end with one error line and exit code 2 (before anything is built) or 1, never a traceback."""

import os
import re
import time
from pathlib import Path

import pytest

from tenet.config.command_line import check_command_line
from tenet.errors import ConfigError, printable
from tests.config.options import CONF
from tests.security.commands import TINY, run

# Refused while the command line is read.
READ: list[tuple[list[str], str]] = [
    (["--config-name=nope"], "--config-name: not supported"),
    (["--config-dir=nope"], "--config-dir: not supported"),
    (["--config-path", "nope"], "--config-path: not supported"),
    (["--config-n=nope"], "--config-name: not supported"),
    (["--cfg", "job", "--package", "tenett"], "--package tenett: no group; did you mean tenet?"),
    (["--cfg", "all", "--package", "seed"], "--package seed: no group"),
    (["--nope"], "unrecognized arguments: --nope"),
    (["hydra.job_logging.root.level=LOUD"], "hydra.job_logging.root.level=LOUD: must be one of DEBUG, INFO"),
    (["hydra/launcher=nope"], "hydra/launcher=nope: must be one of tenet, basic"),
    (
        ["backbone.depth=600000002"],
        "backbone.depth=600000002: must be an integer of at least 11 and at most 2,000",
    ),
    (
        ["backbone=resnet20", "backbone.width=1000000000"],
        "backbone.width=1000000000: must be an integer of at least 1 and at most 4,096",
    ),
    (["trainer.batch_size=1000000000000"], "must be an integer of at least 1 and at most 1,000,000,000"),
    (["optimizer.lr=1e308"], "optimizer.lr=1e+308: must be a number of more than 0 and at most 1,000,000"),
    (["seed=" + "9" * 5000], "can't be read as KEY=VALUE"),
    (["seed=" + "[" * 5000], "can't be read as KEY=VALUE"),
    (["seed=${seed}"], "seed: Recursive interpolation detected"),
    (["+optimizer.capturable={a: 1}", "optimizer=adamw"], "optimizer.capturable={'a': 1}: must be a number"),
    (["resume="], "resume=: must be a text"),
    (["resume=${nope}"], "resume: Interpolation key 'nope' not found; give a folder"),
    (["=1"], "=1 can't be read as KEY=VALUE"),
]
# Refused by the command, most of them when it builds what the command line asks for.
RUN: list[tuple[list[str], str]] = [
    (["--cfg=nope"], "argument --cfg/-c: invalid choice: 'nope'"),
    (["--resolve"], "The --resolve flag can only be used in conjunction with --cfg"),
    (["--shell-completion"], "Expecting one subcommand"),
    (["hydra.verbose=3"], "hydra.verbose=3: must be true, false, a logger's name or a list of names"),
    (["hydra.run.dir=${nowhere}"], "hydra.run.dir: Interpolation key 'nowhere' not found"),
    (["hydra.run.dir=/dev/null/x"], "Not a directory"),
    (["hydra.run.dir='a\x1b[2J'"], "hydra.run.dir=a?[2J: must be a path of 1 to 4,096 printable characters"),
    (["backbone=resnet20", "backbone.depth=200", "backbone.width=4096"], "of memory; choose a smaller one"),
    (["+optimizer.differentiable=true", "optimizer=adamw"], "optimizer: it can't take a step"),
    (
        ["optimizer._target_=torch.optim.lr_scheduler.LambdaLR"],
        "LambdaLR: must derive from torch.optim.Optimizer",
    ),
    (
        ["tracking._target_=tenet.tracking.Tracker", "tracking=none"],
        "tracking._target_=tenet.tracking.Tracker: ",
    ),
    (["resume=/dev/null"], "/dev/null is not a run folder"),
    (["dataset=arrays", "dataset.path=/dev/zero"], "dataset.path=/dev/zero is not a file"),
    (["dataset=arrays", "dataset.path='~nosuch/x'"], "dataset.path=~nosuch/x: there is no such home folder"),
    (["dataset.root='~nosuch/x'"], "dataset.root=~nosuch/x: there is no such home folder"),
    (["resume='a${b}c'"], "resume: Interpolation key 'b' not found; give a folder"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "start"), READ, ids=[words[-1][:40] for words, _ in READ])
def test_a_wrong_command_line_is_refused_in_one_line(words: list[str], start: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_command_line(words, config_dir=CONF, config_name="train")
    assert start in printable(str(error.value))


@pytest.mark.parametrize(("words", "start"), RUN, ids=[words[-1][:40] for words, _ in RUN])
def test_a_wrong_command_is_refused_in_one_line(tmp_path: Path, words: list[str], start: str) -> None:
    done = run("train.py", *words, cwd=tmp_path)
    assert start in done.refusal()
    assert done.output.count("\n") == 1, "and nothing else is printed"


COPY = "{_target_:shutil.copyfile,src:/etc/hostname,dst:copied}"
HANDLER = "{class:logging.FileHandler,filename:copied}"


@pytest.mark.parametrize(
    "word",
    [
        f"+hydra.callbacks.x={COPY}",
        f"++hydra={{callbacks:{{x:{COPY}}}}}",
        "hydra.sweeper._target_=shutil.copyfile",
        f"hydra.launcher={COPY}",
        f"+hydra.job_logging.handlers.x={HANDLER}",
        f"+hydra.hydra_logging.handlers.x={HANDLER}",
        "hydra.job_logging.root.level=ext://evil.code",
        "hydra.verbose={a:1}",
        "hydra.searchpath=[file://evil]",
        "+hydra.job.env_set.X=1",
        "~hydra.run.dir",
        "hydra/launcher=submitit_local",
        "hydra/sweeper=basic",
        "hydra/job_logging=[tenet,evil]",
        "hydra/hydra_logging=default",
        "dataset@hydra.callbacks.x=digits",
        "+launcher@hydra.sweeper=serial",
    ],
)
def test_no_setting_of_hydra_names_code(tmp_path: Path, word: str) -> None:
    assert re.search("not supported|must be|leave out @", run("train.py", "-m", word, cwd=tmp_path).refusal())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--cfg=hydra", "--hydra-help"])
def test_no_flag_leads_around_the_check_of_hydras_settings(tmp_path: Path, flag: str) -> None:
    assert "not supported" in run("train.py", flag, f"+hydra.callbacks.x={COPY}", cwd=tmp_path).refusal()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("key", ["run", "weights", "cifar101", "cifar_p", "output", "corruptions.root"])
def test_an_unknown_home_folder_is_refused_in_one_line(tmp_path: Path, finished_run: Path, key: str) -> None:
    of_run = [] if key in ("run", "weights") else [f"run={finished_run}"]
    done = run("evaluate.py", *of_run, f"{key}='~nosuch/x'", "corruptions.names=[]", cwd=tmp_path)
    assert f"{key}=~nosuch/x: there is no such home folder" in done.refusal()


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("a${b}", "a${b}: Hydra would read ${...} in a folder's name as a key; start from another folder"),
        ("x\x01y", "x?y/data.npz: must be a text of 1 to 4,096 characters without control characters"),
        (os.fsdecode(b"x\xffy"), "x?y/data.npz: must be a text"),
    ],
    ids=["interpolation", "control character", "not UTF-8"],
)
def test_a_working_directory_that_no_configuration_can_hold_is_refused_and_not_changed(
    tmp_path: Path, folder: str, told: str
) -> None:
    cwd = tmp_path / folder
    cwd.mkdir()
    done = run("train.py", "dataset=arrays", "dataset.path=data.npz", "hydra.run.dir=run", cwd=cwd)
    assert told in done.refusal()
    assert list(cwd.iterdir()) == []


@pytest.mark.parametrize(
    ("sweep", "jobs"),
    [
        (["seed=range(0,999999999)"], "999,999,999"),
        (["seed=range(0,101)", "tenet.groups=range(1,101)"], "10,100"),
        (["optimizer.lr=range(0,1,0.0000001)"], "10,000,000"),
        (["seed=range(5,5)"], "0"),
    ],
)
def test_the_jobs_of_a_sweep_are_counted_before_they_are_listed(
    tmp_path: Path, sweep: list[str], jobs: str
) -> None:
    start = time.monotonic()
    done = run("train.py", "-m", *TINY, *sweep, cwd=tmp_path, spare_mb=200)
    assert done.refusal() == f"the sweep has {jobs} jobs; it must have 1 to 10,000"
    assert time.monotonic() - start < 20


@pytest.mark.slow
def test_running_out_of_memory_is_reported_in_one_line(tmp_path: Path) -> None:
    done = run("train.py", *TINY, "backbone.width=512", "trainer.batch_size=1000", cwd=tmp_path, spare_mb=900)
    assert done.refusal().startswith("out of memory (")
