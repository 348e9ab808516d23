"""Kill runs at random moments, again and again, and compare what becomes of them with a run that was left alone:
`python -m tests.faults.kill --times 20`."""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.commands import TINY, Command, assert_same_run, train, wait_for, write_data

# Twelve epochs, so that a kill a run is few; evaluated every other one, and a checkpoint after about every step.
LONGER = (
    "trainer.epochs=12",
    "trainer.evaluate_every_epochs=2",
    "trainer.checkpoint_every_steps=null",
    "trainer.checkpoint_every_minutes=0.001",
)
KILLS_OF_A_RUN = 4


def kill_at_random(folder: Path, *arguments: str, seed: int, kills: int, within_s: float) -> int:
    """Start the tiny run in `folder` and kill it, `kills` times, each at most so many seconds after it wrote its
    configuration; then let it end. The number of kills that found it alive."""
    moments = random.Random(seed)
    written = folder / "run" / "config.yaml"
    alive = 0
    for _ in range(kills):
        before = inode_of(written)
        command = Command("train", *TINY, *arguments, cwd=folder)
        # A run that has ended before a kill found it writes nothing any more.
        wait_for(lambda before=before, command=command: inode_of(written) != before or not command.runs)
        time.sleep(moments.uniform(0, within_s))
        command.send(signal.SIGKILL)
        alive += command.wait().code == -signal.SIGKILL
    ended = train(*arguments, cwd=folder)
    assert ended.code == 0, ended.output
    return alive


def inode_of(path: Path) -> int | None:
    """Another one whenever the file was written anew."""
    return path.stat().st_ino if path.exists() else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kill", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="how many kills")
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
        print(f"a run that is left alone: {alone_s:.1f} s")
        kills, runs = 0, 0
        while kills < asked.times:
            shutil.rmtree(hurt / "run", ignore_errors=True)
            wanted = min(KILLS_OF_A_RUN, asked.times - kills)
            kills += kill_at_random(hurt, *LONGER, seed=asked.seed + runs, kills=wanted, within_s=alone_s / 2)
            assert_same_run(hurt / "run", whole / "run")
            runs += 1
            print(f"run {runs}, {kills} kills so far: bitwise the same weights, optimizer state and figures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
