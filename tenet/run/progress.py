"""Progress of long jobs: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from datetime import timedelta
from typing import ClassVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from tenet.printing import console

# Without a terminal, lines are at least this far apart, so that log files stay readable.
SECONDS_BETWEEN_LINES = 10.0


class TimeLeft(ProgressColumn):
    """The time for the items that are left, plus the task's field `more_s`."""

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        return Text("-:--:--" if left is None else format_duration(left + task.fields["more_s"]))


class ProgressReport:
    """Context manager that shows `done` of `total` with a status text. One may be open within another.

    unit: the name of the counted items, such as "step" or "cell".
    """

    _open_bars: ClassVar[list[Progress]] = []

    def __init__(self, title: str, *, total: int, unit: str, done: int = 0) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.first_done = done
        self.started = self.last_line = time.monotonic()
        self.bar: Progress | None = None
        self._owns_bar = not self._open_bars  # a terminal shows one display at a time
        if self._open_bars:
            self.bar = self._open_bars[-1]
        elif sys.stdout.isatty():
            # The status is cut on a narrow terminal, never the time.
            status = Column(ratio=1, no_wrap=True, overflow="ellipsis")
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=10),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}", table_column=status),
                TimeLeft(),
                TextColumn("left"),
                expand=True,
                console=console(),
            )
        if self.bar:
            self.task = self.bar.add_task(title, total=total, completed=done, status="", more_s=0.0)

    def __enter__(self) -> "ProgressReport":
        if self.bar and self._owns_bar:
            self.bar.start()
            self._open_bars.append(self.bar)
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar and self._owns_bar:
            self.bar.stop()
            self._open_bars.remove(self.bar)
        elif self.bar:
            self.bar.remove_task(self.task)

    def update(self, done: int, status: str, *, milestone: bool = False, more_s: float = 0.0) -> None:
        """Report progress. A `milestone` is always printed as a line of its own, and without delay.

        more_s: seconds for other work that is left, in addition to the items.
        """
        if self.bar:
            self.bar.update(self.task, completed=done, status=status, more_s=more_s)
            if milestone:
                self.bar.console.print(f"{self.unit} {done:,}/{self.total:,}  {status}", soft_wrap=True)
            return
        now = time.monotonic()
        if milestone or now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            left = (now - self.started) / max(1, done - self.first_done) * (self.total - done) + more_s
            place = f"{self.unit} {done:,}/{self.total:,}"
            parts = [self.title, place, status, f"{format_duration(left)} left"]
            print("  ".join(filter(None, parts)), flush=True)

    def pause(self, seconds: float) -> None:
        """Do not count the last `seconds` as time for the items."""
        self.started += seconds


def format_duration(seconds: float) -> str:
    """Format as h:mm:ss, with days if there are any."""
    return str(timedelta(seconds=round(seconds)))
