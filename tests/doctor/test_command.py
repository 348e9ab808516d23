"""`python -m tenet.doctor` as a user types it, and what it prints."""

import io
import json
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tenet.doctor import __main__ as doctor
from tenet.doctor import hardware
from tenet.doctor.findings import Section, ok, problem
from tenet.doctor.report import Report
from tests.doctor.plans import TINY
from tests.security.commands import run

SECTIONS = list(doctor.CHECKS)


def call(*arguments: str) -> int:
    return doctor.main([*TINY, "--steps", "1", *arguments])


def test_a_run_that_is_ready_has_exit_code_0_and_is_not_started(tmp_path: Path) -> None:
    arguments = [
        *TINY,
        "tracking=none",
        "--steps",
        "1",
        "--price-per-hour",
        "2",
        "--json",
        "found/doctor.json",
    ]
    done = run("-m", "tenet.doctor", *arguments, cwd=tmp_path, timeout_s=120)
    assert done.code == 0, done.output
    found = json.loads((tmp_path / "found" / "doctor.json").read_text())
    assert found["ready"] is True
    assert list(found["sections"]) == [name for name in SECTIONS if name != "corruptions"]
    assert found["sections"]["data"]["figures"]["images"] == {"training": 143, "test": 360}
    assert found["sections"]["time"]["figures"]["steps"] == 27
    assert 0 < found["sections"]["memory"]["figures"]["needed_bytes"] < 1e9
    assert (tmp_path / "runs" / "doctor" / "augmentation.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["doctor"], "the run has left something"
    assert "Warning" not in done.output
    assert done.output.splitlines()[-1].startswith("ready (")
    assert "cost: " in done.output
    assert "\x1b" not in done.output, "there is no terminal"


@pytest.mark.slow
def test_problems_have_exit_code_1_and_do_not_stop_the_other_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("dataset=arrays", "dataset.path=absent.npz", "tenet.groups=700", "--json", "a.json") == 1
    output = capsys.readouterr().out
    assert "✗ tenet.groups=700 exceeds the 8 channels at layer stage_2; lower groups" in output
    assert f"✗ dataset.path={tmp_path / 'absent.npz'} is not a file" in output
    assert (
        f"! not examined until this is fixed: dataset.path={tmp_path / 'absent.npz'} is not a file" in output
    )
    assert output.count("✗") == 3, "each problem is reported once, and the first is repeated at the end"
    assert "not ready (" in output
    sections = json.loads((tmp_path / "a.json").read_text())["sections"]
    assert set(sections) == set(SECTIONS) - {"corruptions"}
    assert [finding["status"] for finding in sections["W&B"]["findings"]] == ["ok"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("tenet.group=4", "error: there is no key tenet.group; did you mean tenet.groups"),
        ("tenet.groups=0", "error: tenet.groups=0: must be an integer of at least 1"),
        ("seed=1,2", "error: seed=1,2 is a sweep; the doctor examines one run: give one value"),
        ("resume=nowhere", "error: nowhere is not a run folder"),
    ],
)
def test_a_wrong_command_is_an_error_of_one_line_with_exit_code_2(
    override: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main([override]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(line)
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--steps", "0"], "must be positive numbers"),
        (["--steps", "1.5"], "invalid int value"),
        (["--price-per-hour", "0"], "must be positive numbers"),
        (["--price-per-hour", "nan"], "must be positive numbers"),
    ],
)
def test_options_out_of_range_are_refused(
    option: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        doctor.main(option)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_a_check_that_fails_is_a_problem_and_the_others_still_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(plan: object) -> None:
        raise ZeroDivisionError("of nothing\nand more")

    monkeypatch.setattr(hardware, "check", fail)
    monkeypatch.setattr(
        doctor, "CHECKS", {name: doctor.CHECKS[name] for name in ("hardware", "data", "memory", "time")}
    )
    # A package that can't be imported.
    monkeypatch.setitem(sys.modules, "tenet.doctor.duration", None)
    assert call(f"hydra.run.dir={tmp_path / 'run'}", "--json", str(tmp_path / "a.json")) == 1
    output = capsys.readouterr().out
    assert "✗ this check failed: ZeroDivisionError: of nothing\n" in output
    assert "✗ this check failed: ModuleNotFoundError" in output
    sections = json.loads((tmp_path / "a.json").read_text())["sections"]
    assert "in fail\n" in sections["hardware"]["traceback"]
    assert [sections[name]["findings"][-1]["status"] for name in ("data", "memory")] == ["ok", "ok"]


def test_an_interruption_ends_the_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(plan: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hardware, "check", interrupt)
    monkeypatch.setattr(doctor, "CHECKS", {"hardware": "hardware"})
    assert call(f"hydra.run.dir={tmp_path / 'run'}") == 130


def section() -> Section:
    what = "a finding that is longer than a terminal is wide, " * 3
    return Section("data", [ok("short"), problem(what, "a command " * 12 + "[bold]'quoted'[/bold]")])


def printed(*, is_terminal: bool) -> str:
    stream = io.StringIO()
    Report(Console(file=stream, width=80, force_terminal=is_terminal, no_color=True)).show(section())
    return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())


def test_on_a_terminal_findings_are_folded_below_their_mark_and_remedies_can_be_pasted() -> None:
    *findings, remedy = printed(is_terminal=True).rstrip("\n").split("\n")
    assert max(map(len, findings)) <= 80
    assert {line[:4].strip() for line in findings} == {"data", "✓", "✗", ""}
    assert remedy == f"    -> {section().findings[1].remedy}"


def test_a_terminal_without_unicode_gets_plain_marks() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Report(Console(file=stream)).show(Section("data", [ok("short"), problem("long")]))
    stream.seek(0)
    assert stream.read() == "data\n  + short\n  x long\n"


def test_elsewhere_a_finding_and_its_remedy_are_a_line_each_to_be_pasted() -> None:
    assert printed(is_terminal=False).split("\n") == [
        "data",
        "  ✓ short",
        f"  ✗ {section().findings[1].what}",
        f"    -> {section().findings[1].remedy}",
        "",
    ]
