"""The project's commands in forks whose memory is limited and measured."""

import os
import resource
import runpy
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from tests.faults.commands import FORKS

ROOT = Path(__file__).resolve().parents[2]
# The training runs of these tests take seconds on one core.
TINY = ("experiment=quickstart", "dataset.fraction=0.1", "backbone.width=4", "tenet.groups=3", "tenet.start_step=2",
        "trainer.batch_size=64", "trainer.epochs=1")  # fmt: skip

# Limits for refused inputs: address space beyond the imports, and resident memory.
SPARE_MB, TAKEN_MB = 700, 120
UNLIMITED_MB = 2**30


class Done(NamedTuple):
    """output: of both streams, in order. peak_mb: the process's peak memory beyond what it started with."""

    code: int
    output: str
    peak_mb: float

    def refusal(self) -> str:
        """Return the error line of a command that refuses its input. Fails if the command did anything else."""
        lines = self.output.strip().split("\n")
        last = lines[-1]
        assert self.code in (1, 2), self.output
        assert "Traceback" not in self.output
        assert sum(line.startswith("error: ") for line in lines) == 1, self.output
        assert last.startswith("error: "), self.output
        assert last.isprintable()
        assert len(last) < 3000
        return last.removeprefix("error: ")


def run(
    *words: str | Path,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    spare_mb: int = 4096,
    timeout_s: float = 60,
) -> Done:
    """Run `train.py ...` or `-m tenet.compare ...` in `cwd`.

    spare_mb: address space beyond what the process starts with. Fails if the command does not end in time.
    """
    told = cwd / ".told"
    receive, send = FORKS.Pipe(duplex=False)
    arguments = ([str(word) for word in words], cwd, dict(environment or {}), spare_mb, told, send)
    process = FORKS.Process(target=_work, args=arguments)
    process.start()
    send.close()
    process.join(timeout_s)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"{words} did not end within {timeout_s} s: {told.read_text()[-2000:]}")
    peak_mb = receive.recv() if receive.poll() else 0.0
    receive.close()
    output = told.read_text(errors="backslashreplace")
    told.unlink()
    assert process.exitcode is not None
    return Done(process.exitcode, output, peak_mb)


def look_at(run_dir: Path) -> Done:
    """Run the X-ray: of the commands that read a run folder it starts fastest."""
    return run("-m", "tenet.xray", run_dir.name, cwd=run_dir.parent, spare_mb=SPARE_MB)


def _work(
    words: list[str], cwd: Path, environment: dict[str, str], spare_mb: int, told: Path, send: Connection
) -> None:
    os.chdir(cwd)
    os.environ.pop("WANDB_SERVICE", None)  # belongs to the tests' own process, which may have ended it
    os.environ.update(
        {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "WANDB_SILENT": "true", **environment}
    )
    stream = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(stream, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    space, resident = (int(pages) * resource.getpagesize() for pages in _statm())
    resource.setrlimit(resource.RLIMIT_AS, (space + spare_mb * 2**20, resource.RLIM_INFINITY))
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            sys.modules.pop(f"{words[1]}.__main__", None)
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [str(ROOT / words[0]), *words[1:]]
            runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        send.send((peak - resident) / 2**20)


def _statm() -> list[str]:
    """Return the numbers of pages of address space and of resident memory."""
    return Path("/proc/self/statm").read_text().split()[:2]
