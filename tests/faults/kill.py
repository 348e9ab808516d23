"""Stop runs at random moments with a signal, continue them, and compare the results with an uninterrupted run:
`python -m tests.faults.kill --times 20`, `... --signal SIGTERM`."""

import argparse
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.commands import TINY, Command, assert_same_run, train, wait_for, write_data

# An evaluation every other epoch, and a checkpoint after about every step.
LONGER = (
    "trainer.epochs=12",
    "trainer.evaluate_every_epochs=2",
    "trainer.checkpoint_every_steps=null",
    "trainer.checkpoint_every_minutes=0.001",
)
SIGNALS_OF_A_RUN = 4
CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGINT: 130}


def end_at_random(
    folder: Path, *arguments: str, seed: int, times: int, within_s: float, number: int = signal.SIGKILL
) -> list[float]:
    """Start the tiny run in `folder` and send it the signal, `times` times, each within `within_s` seconds after the
    run wrote its configuration; then let the run finish. Returns the seconds from each signal to the end of its
    process, for the signals that reached a living process."""
    moments = random.Random(seed)
    written = folder / "run" / "config.yaml"
    seconds = []
    for _ in range(times):
        before = inode_of(written)
        command = Command("train", *TINY, *arguments, cwd=folder)
        # If the run has ended already, it does not write the configuration again.
        wait_for(lambda before=before, command=command: inode_of(written) != before or not command.runs)
        time.sleep(moments.uniform(0, within_s))
        start = time.monotonic()
        command.send(number)
        ended = command.wait()
        assert ended.code in (0, CODES[number]), ended.output
        if ended.code:
            seconds.append(time.monotonic() - start)
    ended = train(*arguments, cwd=folder)
    assert ended.code == 0, ended.output
    return seconds


def inode_of(path: Path) -> int | None:
    """Return the file's inode, which changes whenever the file is replaced; None without a file."""
    return path.stat().st_ino if path.exists() else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kill", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="how many signals")
    parser.add_argument("--signal", choices=[one.name for one in CODES], default="SIGKILL")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        whole, hurt = Path(name) / "whole", Path(name) / "hurt"
        for folder in (whole, hurt):
            folder.mkdir()
            write_data(folder)
        train(*LONGER, cwd=whole)  # the first start of a command takes longer
        shutil.rmtree(whole / "run")
        start = time.monotonic()
        train(*LONGER, cwd=whole)
        alone_s = time.monotonic() - start
        print(f"an uninterrupted run: {alone_s:.1f} s")
        seconds: list[float] = []
        runs = 0
        while len(seconds) < asked.times:
            shutil.rmtree(hurt / "run", ignore_errors=True)
            seconds += end_at_random(
                hurt, *LONGER, seed=asked.seed + runs, times=min(SIGNALS_OF_A_RUN, asked.times - len(seconds)),
                within_s=alone_s / 2, number=signal.Signals[asked.signal],
            )  # fmt: skip
            assert_same_run(hurt / "run", whole / "run")
            runs += 1
            print(f"run {runs}, {asked.signal} {len(seconds)} times so far: bitwise the same", flush=True)
    print(f"from the signal to the end: {statistics.median(seconds):.2f} s, at most {max(seconds):.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
