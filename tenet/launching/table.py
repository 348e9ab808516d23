"""The table at the end of a multirun."""

from textwrap import shorten

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tenet.files.names import RESULTS_FILE
from tenet.launching.job import Job, State, counted
from tenet.launching.multirun import Multirun
from tenet.run.progress import format_duration

COLORS = {State.FAILED: "red", State.INTERRUPTED: "yellow", State.NOT_STARTED: "dim"}
# Those that took time of their own.
RAN = (State.FINISHED, State.FAILED, State.INTERRUPTED)
MAX_ERROR_CHARACTERS = 70
MAX_LOGS = 10


def print_table(multirun: Multirun) -> None:
    """Each job, how it ended, how long it took and where it is; then the counts, and the logs of failures."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(_table(multirun, is_terminal=True))
    else:
        wide = Console(width=10_000)  # lines of a file may have any length
        with wide.capture() as captured:
            wide.print(_table(multirun, is_terminal=False))
        print("", *(line.rstrip() for line in captured.get().splitlines()), sep="\n")
    counts = ", ".join(f"{count} {state.value}" for state in State if (count := multirun.counts[state]))
    print(f"{counted(len(multirun.jobs), 'job')} in {format_duration(multirun.seconds)}: {counts}")
    failed = [job for job in multirun.jobs if job.outcome.state == State.FAILED and job.log is not None]
    for job in failed[:MAX_LOGS]:
        print(f"log of #{job.number}: {job.log}")
    print(multirun.folder / RESULTS_FILE, flush=True)


def _table(multirun: Multirun, *, is_terminal: bool) -> Table:
    """With each job's folder in a column of its own, or on a terminal, which is narrow, below the job."""
    folders = _folders(multirun)
    table = Table(box=SIMPLE_HEAD if is_terminal else None, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("job", overflow="fold")
    table.add_column("error", overflow="fold")
    table.add_column("time", justify="right", no_wrap=True, min_width=len("0:00:00"))
    if any(folders.values()) and not is_terminal:
        table.add_column("folder")
    for job in multirun.jobs:
        label, folder = Text(job.label), folders[job]
        if folder and is_terminal:
            label.append(f"\n{folder}", style="dim")
        ending = shorten(job.describe(), MAX_ERROR_CHARACTERS, placeholder=" …")
        time = format_duration(job.seconds) if job.outcome.state in RAN else ""
        # As Text: brackets, such as those of corruptions.names=[fog], are no markup.
        cells = [Text(str(job.number)), label, Text(ending), Text(time)]
        table.add_row(*cells, *([] if is_terminal else [Text(folder)]), style=COLORS.get(job.outcome.state))
    return table


def _folders(multirun: Multirun) -> dict[Job, str]:
    """The run folder of each job; empty where there is none, and for evaluations, which have none of their own."""

    def has_own(job: Job) -> bool:
        return (
            job.folder is not None
            and job.same_as is None
            and job.folder != multirun.folder.parent
            and job.folder.exists()
        )

    return {job: str(job.folder) if has_own(job) else "" for job in multirun.jobs}
