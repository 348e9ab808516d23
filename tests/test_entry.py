"""The streams of a command, as the shell hands them over."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# As evaluate.py does: a bar if there is a terminal, else lines; and a table.
WORK = r"""
import sys
from rich.console import Console
from rich.table import Table
from tenet.entry import run_and_report_errors
from tenet.run.progress import ProgressReport

def work():
    with ProgressReport("corruptions", total=1, unit="cell") as progress:
        progress.update(1, "r\u00fcn", milestone=True)
    Console().print(Table("\u00b1 \u2500"))
    print("told", file=sys.stderr)

sys.exit(run_and_report_errors(work))
"""


def work(redirection: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-c", WORK],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("redirection", "told"), [(">&-", "told\n"), ("2>&-", ""), (">&- 2>&-", "")], ids=["out", "error", "both"]
)
def test_a_command_works_without_its_streams(redirection, told):
    done = work(redirection)
    assert (done.returncode, done.stderr) == (0, told)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_does_not_end_a_command(unbuffered):
    """Both streams are a pipe that nobody reads: `| head -1` after its line."""
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-c", WORK], cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=writes, stderr=writes, timeout=60, check=False,
    )  # fmt: skip
    os.close(writes)
    assert done.returncode == 0


def test_a_character_that_the_terminal_lacks_is_told_by_its_number():
    done = work(PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    assert "cell 1/1  r\\xfcn" in done.stdout
    assert "\\xb1 \\u2500" in done.stdout
