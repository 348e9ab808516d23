"""The labels of jobs, and the table at the end of a multirun."""

from pathlib import Path

import pytest

from tenet.errors import ConfigError
from tenet.launching.job import Job, Outcome, State, failure
from tenet.launching.multirun import Multirun
from tenet.launching.plugin import differing


def test_a_label_holds_the_overrides_that_differ() -> None:
    assert differing([["a=1", "b=[x,y]"], ["a=1", "b=[z]"]]) == [["b=[x,y]"], ["b=[z]"]]
    assert differing([["a=1", "launcher=parallel", "launcher.jobs=2"]]) == [["a=1"]]
    assert differing([["a=1", "launcher=parallel"]] * 2) == [["a=1"], ["a=1"]]
    assert differing([["launcher=parallel"]]) == [["defaults"]]
    assert differing([["a=1", "seed=0"]] * 2, typed=["a=1", "seed=0,0"]) == [["seed=0"], ["seed=0"]]


def test_the_table_shows_brackets_and_cuts_long_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one").mkdir()
    done = Job(
        number=0, overrides=(), label="corruptions.names=[fog]", folder=tmp_path / "one", seconds=3725.4
    )
    done.outcome = Outcome(State.FINISHED, 12.345)
    failed = Job(
        number=1, overrides=(), label="seed=1", outcome=failure(ConfigError("far too " + 20 * "long "))
    )
    failed.log = tmp_path / "job-1.log"
    waiting = Job(number=2, overrides=(), label="seed=2")
    again = Job(number=3, overrides=(), label="seed=1", outcome=Outcome(State.SAME), same_as=failed)
    multirun = Multirun([done, failed, waiting, again], folder=tmp_path / "m", prepare=lambda job: None)
    multirun.print_table()
    assert capsys.readouterr().out.splitlines() == [
        "",
        "#  job                      error" + 67 * " " + "time  folder",
        f"0  corruptions.names=[fog]  12.35 %{62 * ' '}1:02:05  {tmp_path}/one",
        "1  seed=1                   failed: far too " + 10 * "long " + "…  0:00:00",
        "2  seed=2                   not started",
        "3  seed=1                   same as #1",
        "4 jobs in 0:00:00: 1 finished, 1 same as another, 1 failed, 1 not started",
        f"log of #1: {tmp_path}/job-1.log",
        f"{tmp_path}/m/results.json",
    ]
