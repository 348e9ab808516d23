"""The way of every text to the terminal and to the logs: control characters of files, names and servers are replaced.

`open_streams` covers print, warnings, tracebacks and the records of all loggers. Tables and bars need `console()`,
because rich writes control characters of its own to a terminal.
"""

import errno
import io
import logging
import os
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tenet.errors import printable, printable_lines


class Descriptor(io.FileIO):
    """A standard stream whose reader may go away (`| head`, a closed terminal): further output is then discarded.

    So it is after other errors, such as a full disk, which are raised once.
    """

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            # For libraries and child processes too, which write to the descriptor itself.
            with open(os.devnull, "wb") as discarded:  # noqa: PTH123
                os.dup2(discarded.fileno(), self.fileno())
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
        return len(content)


class PlainStream:
    """A text stream that replaces what is not printable, except the ends of lines and tabs.

    On stderr, a carriage return may begin a piece of output: progress bars of libraries do that.
    """

    def __init__(self, stream: Any) -> None:
        self.terminal = stream

    def write(self, text: str) -> int:
        bar = "\r" if self is sys.stderr and text.startswith("\r") else ""
        return int(self.terminal.write(bar + printable_lines(text.removeprefix(bar))))

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.terminal, name)


class PlainRecord(logging.LogRecord):
    """A log record of one printable line, which the lines of a traceback may follow."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[0]:
            self.exc_text = printable_lines("".join(traceback.format_exception(*self.exc_info)).rstrip("\n"))

    def getMessage(self) -> str:  # noqa: N802
        return printable(super().getMessage())


class PlainConsole(Console):
    """A console whose texts hold no control characters; its styles and the movements of its bars remain."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable_lines(segment.text))


def console(**settings: Any) -> Console:
    """Return rich's console on stdout. settings: as of `rich.console.Console`."""
    return PlainConsole(file=getattr(sys.stdout, "terminal", sys.stdout), **settings)


def open_streams() -> None:
    """Make stdout, stderr and logging safe to write to. Calling it again changes nothing.

    A missing stream is replaced by one that discards its input, and so is a stream whose reader goes away. Characters
    outside a stream's encoding are escaped, and characters that are not printable are replaced by `?`.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, PlainStream):
            continue
        if stream is None:
            stream = open(os.devnull, "w")  # noqa: SIM115, PTH123
        elif type(stream) is io.TextIOWrapper:
            stream = _without_reader(stream)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, PlainStream(stream))
    logging.setLogRecordFactory(PlainRecord)


def _without_reader(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """The same stream, which keeps working when its reader goes away."""
    stream.flush()
    own = io.TextIOWrapper(
        io.BufferedWriter(Descriptor(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    own.replaces = stream  # type: ignore[attr-defined]  # it may close the descriptor when it is deleted
    return own
