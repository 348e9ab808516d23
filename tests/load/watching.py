"""Observe a process from outside through /proc, and report what grows."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "WANDB_SILENT": "true"}

# Shares of the work at which marks are taken. Growth is measured from the second mark, when all lazy imports are done.
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
BEFORE = 0.1  # a figure is the median of the samples in this share of the work before the mark
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

# The tolerances of memory and CPU time.
MEMORY_MB, CPU_RATIO = 10.0, 1.25


class Sample(NamedTuple):
    """done: finished steps or jobs. cpu_s: CPU time of all threads of the process since its start. memory_mb: resident
    memory of the process; children_mb: of all its children together."""

    done: int
    at_s: float
    cpu_s: float
    memory_mb: float
    children_mb: float
    open_files: int
    threads: int


class Mark(NamedTuple):
    """The state after `done` steps or jobs. cpu_ms and wall_ms: time per step or job since the previous mark."""

    done: int
    memory_mb: float
    children_mb: float
    open_files: int
    threads: int
    cpu_ms: float
    wall_ms: float


def watch_command(*words: str, cwd: Path, done: Callable[[], int], until: int) -> list[Sample]:
    """Run `python train.py WORDS` in `cwd` and return samples of its process. Raises RuntimeError if it fails."""
    output = cwd / "output.txt"
    with output.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, ROOT / "train.py", *words],
            cwd=cwd, env=os.environ | ENVIRONMENT, stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        samples = watch(process.pid, done=done, until=until)
        if process.wait(timeout=60):
            raise RuntimeError(output.read_text())
    finally:
        process.kill()
    return samples


def watch(
    pid: int, *, done: Callable[[], int], until: int, every_s: float = 0.05, timeout_s: float = 3600
) -> list[Sample]:
    """Sample a child of this process, from its first step until `until` steps or jobs are done or it has ended."""
    deadline = time.monotonic() + timeout_s
    samples: list[Sample] = []
    with suppress(OSError):  # it has ended
        while not samples or samples[-1].done < until:
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {pid} has done {done()} of {until} in {timeout_s:g} s")
            time.sleep(every_s)
            sample = look(pid, done=done())
            samples += [sample] if sample.done else []
    if samples and samples[-1].done < done():
        # The process did some more work after the last sample and ended.
        samples.append(samples[-1]._replace(done=done()))
    return samples


def look(pid: int, *, done: int) -> Sample:
    """Take one sample. Raises OSError if the process does not exist or is a zombie."""
    process = Path("/proc", str(pid))
    # The fields after the name, which may contain any character: state, parent, ...; 11 and 12 are CPU times in ticks.
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    if fields[0] == "Z":
        raise ProcessLookupError(pid)
    threads = list((process / "task").iterdir())
    children = [child for thread in threads for child in (thread / "children").read_text().split()]
    return Sample(
        done=done,
        at_s=time.monotonic(),
        cpu_s=(int(fields[11]) + int(fields[12])) / TICKS_PER_S,
        memory_mb=_resident_mb(process),
        children_mb=sum(_resident_mb(Path("/proc", child)) for child in children),
        open_files=len(list((process / "fd").iterdir())),
        threads=len(threads),
    )


def _resident_mb(process: Path) -> float:
    with suppress(OSError):
        return int((process / "statm").read_text().split()[1]) * PAGE_MB
    return 0.0


def last_step(metrics_file: Path, *, tail: int = 4096) -> int:
    """Return the last step in the metrics file of a run; 0 before its first line."""
    with suppress(OSError), metrics_file.open("rb") as file:
        file.seek(max(0, metrics_file.stat().st_size - tail))
        lines = file.read().split(b"\n")[:-1]  # without an incomplete last line
        return json.loads(lines[-1])["step"] if lines else 0
    return 0


def at_marks(samples: list[Sample], *, until: int) -> list[Mark]:
    """Return the state at each mark. Raises ValueError if the process ended early or too fast to be sampled at each."""
    if not samples or samples[-1].done < until:
        raise ValueError(f"it ended at {samples[-1].done if samples else 0} of {until}")
    reached = [next(sample for sample in samples if sample.done >= share * until) for share in SHARES]
    marks = []
    for before, now in pairwise([samples[0], *reached]):
        if before.done == now.done:
            raise ValueError(f"only {len(samples)} samples were taken: give the process more work")
        near = [one for one in samples if now.done - BEFORE * until <= one.done <= now.done]
        marks.append(
            Mark(
                now.done,
                statistics.median(one.memory_mb for one in near),
                statistics.median(one.children_mb for one in near),
                statistics.median_low(one.open_files for one in near),
                statistics.median_low(one.threads for one in near),
                1000 * (now.cpu_s - before.cpu_s) / (now.done - before.done),
                1000 * (now.at_s - before.at_s) / (now.done - before.done),
            )
        )
    return marks


def growth(marks: list[Mark], *, cpu_ratio: float = CPU_RATIO) -> list[str]:
    """Return one line for each figure that has grown beyond its tolerance from the second mark to the last (CPU time:
    from the second quarter of the work to the last quarter)."""
    first, last = marks[1], marks[-1]
    grown = []
    for name, before, after, tolerance in [
        ("memory, MB", first.memory_mb, last.memory_mb, MEMORY_MB),
        ("W&B's memory, MB", first.children_mb, last.children_mb, MEMORY_MB),
        ("open files", first.open_files, last.open_files, 0),
        ("threads", first.threads, last.threads, 0),
        ("CPU, ms", marks[2].cpu_ms, last.cpu_ms, (cpu_ratio - 1) * marks[2].cpu_ms),
    ]:
        if after > before + tolerance:
            grown.append(f"{name}: from {before:,.4g} to {after:,.4g}")
    return grown


def tell(marks: list[Mark], *, unit: str) -> int:
    """Print the marks as a table and as a line of JSON, and what has grown. Returns 1 if anything has grown, else 0."""
    table = Table(title=f"Times of one {unit}, since the row above", title_justify="left")
    for name in (f"{unit}s", "memory, MB", "W&B's, MB", "open files", "threads", "CPU, ms", "wall, ms"):
        table.add_column(name, justify="right")
    for mark in marks:
        table.add_row(*(f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" for value in mark))
    Console().print(table)
    grown = growth(marks)
    print("\n".join(grown) or "nothing has grown")
    rounded = [{name: round(value, 2) for name, value in mark._asdict().items()} for mark in marks]
    print(json.dumps({"unit": unit, "marks": rounded, "grown": grown}))
    return int(bool(grown))
