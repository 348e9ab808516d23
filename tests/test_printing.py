"""No text of a file, a name or a server reaches the terminal or a log with its control characters."""

import io
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from tenet.printing import console, open_streams
from tenet.run.progress import ProgressReport

PACKAGE = Path(__file__).resolve().parents[1] / "tenet"
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\rx"
SHOWN = "?[2J?]0;owned??31m??x"


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


@contextmanager
def opened_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """What both streams write to a terminal after `open_streams`.

    Not a fixture, because pytest replaces the streams between a fixture and its test.
    """
    shown, factory = Terminal(), logging.getLogRecordFactory()
    monkeypatch.setenv("TERM", "xterm-256color")
    with monkeypatch.context() as patch:
        for name in ("stdout", "stderr"):
            patch.setattr(sys, name, shown)
        open_streams()
        yield shown
    logging.setLogRecordFactory(factory)


def test_print_warnings_and_tracebacks_show_no_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened_terminal(monkeypatch) as terminal:
        print(ESCAPES, end="\n\t")
        sys.stderr.writelines([f"{ESCAPES}\n"])
        print(warnings.formatwarning(ESCAPES, UserWarning, "x", 1), file=sys.stderr)
        sys.__excepthook__(ValueError, ValueError(ESCAPES), None)
        assert terminal.getvalue().count(SHOWN) == 4
        assert re.search(r"[^\n\t -~]", terminal.getvalue()) is None


def test_streams_are_opened_once_and_keep_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened_terminal(monkeypatch) as terminal:
        stream = sys.stdout
        open_streams()
        assert sys.stdout is stream
        assert sys.stdout.isatty()
        assert print("h\u00e9llo \u2713") is None
        assert terminal.getvalue() == "h\u00e9llo \u2713\n"


def test_a_bar_of_a_library_stays_on_its_line_of_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened_terminal(monkeypatch) as terminal:
        sys.stderr.write("\r 50% a\rb")
        sys.stdout.write("\r 50%")
        assert terminal.getvalue() == "\r 50% a?b? 50%"


def test_every_logger_and_handler_writes_one_line_for_a_record(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with opened_terminal(monkeypatch):
        logger, file = logging.getLogger("some.library"), tmp_path / "train.log"
        handler = logging.FileHandler(file)
        logger.addHandler(handler)
        try:
            logger.warning("W&B is off (%s)", f"{ESCAPES}\nerror: forged")
            try:
                raise ValueError(ESCAPES)
            except ValueError:
                logger.exception("the job failed")
        finally:
            logger.removeHandler(handler)
            handler.close()
        first, second, *rest = file.read_text().splitlines()
        assert first == f"W&B is off ({SHOWN}?error: forged)"
        assert second == "the job failed"
        assert rest[0].startswith("Traceback")
        assert rest[-1] == f"ValueError: {SHOWN}"


def test_tables_and_bars_keep_their_styles_and_lose_those_of_their_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with opened_terminal(monkeypatch) as terminal:
        table = Table(style="bold")
        table.add_column(Text(ESCAPES))
        table.add_row(Text(ESCAPES))
        console(width=80).print(table)
        with ProgressReport(ESCAPES, total=2, unit="cell") as progress:
            progress.update(1, ESCAPES, milestone=True)
            print(ESCAPES)
        shown = terminal.getvalue()
        assert "\x1b[1m" in shown
        assert shown.count("?[2J?]0;owned?") >= 5  # rich itself drops the bell and the carriage return
        for hostile in ("\x1b[2J", "\x1b]0", "\x07", "\x9b", "\u202e"):
            assert hostile not in shown


def test_no_module_prints_by_a_console_of_its_own() -> None:
    found = {
        path.name
        for path in PACKAGE.rglob("*.py")
        if re.search(r"(?<!\w)Console\((?!file=io\.StringIO)", path.read_text())
    }
    assert found == set()
