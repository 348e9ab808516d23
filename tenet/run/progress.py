"""Progress of long jobs: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from datetime import timedelta

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

# Without a terminal, lines are at least this far apart, so that log files stay readable.
SECONDS_BETWEEN_LINES = 10.0


class ProgressReport:
    """Context manager that shows `done` of `total` with a status text.

    unit: the name of the counted items, such as "step" or "cell".
    """

    def __init__(self, title: str, *, total: int, unit: str, done: int = 0) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.first_done = done
        self.started = self.last_line = time.monotonic()
        self.bar: Progress | None = None
        if sys.stdout.isatty():
            # The status is cut on a narrow terminal, never the time.
            status = Column(ratio=1, no_wrap=True, overflow="ellipsis")
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=10),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}", table_column=status),
                TimeRemainingColumn(),
                TextColumn("left"),
                expand=True,
            )
            self.task = self.bar.add_task(title, total=total, completed=done, status="")

    def __enter__(self) -> "ProgressReport":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, done: int, status: str, *, milestone: bool = False) -> None:
        """Report progress. A `milestone` is always printed as a line of its own, and without delay."""
        if self.bar:
            self.bar.update(self.task, completed=done, status=status)
            if milestone:
                self.bar.console.print(f"{self.unit} {done:,}/{self.total:,}  {status}", soft_wrap=True)
            return
        now = time.monotonic()
        if milestone or now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            left = (now - self.started) / max(1, done - self.first_done) * (self.total - done)
            place = f"{self.unit} {done:,}/{self.total:,}"
            print(f"{self.title}  {place}  {status}  {format_duration(left)} left", flush=True)


def format_duration(seconds: float) -> str:
    """Format as h:mm:ss, with days if there are any."""
    return str(timedelta(seconds=round(seconds)))
