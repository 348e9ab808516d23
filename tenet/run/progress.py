"""How far a long job is: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Without a terminal: at most one line in so many seconds, so that log files stay readable.
SECONDS_BETWEEN_LINES = 10.0
BAR_WIDTH = 10


class ProgressReport:
    """Shows `done` of `total` with a status text; use as a context manager.

    `unit` names what is counted, such as "step" or "cell".
    """

    def __init__(self, title: str, *, total: int, unit: str, done: int = 0) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.first_done = done
        self.started = self.last_line = time.monotonic()
        self.bar: Progress | None = None
        if sys.stdout.isatty():
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=BAR_WIDTH),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=Console(),
            )
            # The columns around the status: title, bar, done/total, time left, and the spaces between.
            self.beside_status = len(title) + BAR_WIDTH + 2 * len(str(total)) + len("/0:00:00left") + 5
            self.task = self.bar.add_task(title, total=total, completed=done, status="")

    def __enter__(self) -> "ProgressReport":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, done: int, status: str, *, milestone: bool = False) -> None:
        """Tell where the job is; a `milestone` gets a plain line at once where there is no terminal."""
        if self.bar:
            self.bar.update(
                self.task, completed=done, status=_fit(status, self.bar.console.width - self.beside_status)
            )
            if milestone:
                self.bar.console.print(f"{self.unit} {done:,}/{self.total:,}  {status}", soft_wrap=True)
            return
        now = time.monotonic()
        if milestone or now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            left = (now - self.started) / max(1, done - self.first_done) * (self.total - done)
            place = f"{self.unit} {done:,}/{self.total:,}"
            print(f"{self.title}  {place}  {status}  {format_duration(left)} left", flush=True)


def _fit(status: str, width: int) -> str:
    """As many of the status's parts, which stand two spaces apart, as the width holds; the first always."""
    parts = status.split("  ")
    while len(parts) > 1 and len("  ".join(parts)) > width:
        parts.pop()
    return "  ".join(parts)


def format_duration(seconds: float) -> str:
    """h:mm:ss"""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
