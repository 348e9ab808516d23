"""Train a tiny network for many steps, observe it from outside, and fail if memory, open files, threads or the time per
step grow: `python -m tests.load.steps --steps 20000`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults.commands import TINY, write_data
from tests.load.watching import at_marks, last_step, tell, watch_command

# 160 images, two views each, in batches of 16. The classes are so easy that the number of correct samples, and with it the
# work of an inhibited step, soon stays constant.
IMAGES, STEPS_PER_EPOCH = 160, 20
# AugMix, an inhibited step after every third step, a line of metrics every five steps, checkpoints within each epoch and,
# after an evaluation, at its end; and W&B.
SMALL = (
    *TINY,
    "tenet.interval=3",
    "trainer.batch_size=16",
    "trainer.log_every_steps=5",
    "trainer.checkpoint_every_steps=8",
    "tracking=wandb",
    "tracking.mode=offline",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.steps", description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000, help="a multiple of 20")
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder, count=IMAGES)
        samples = watch_command(
            *SMALL,
            f"trainer.epochs={steps // STEPS_PER_EPOCH}",
            cwd=folder,
            done=lambda: last_step(folder / "run" / "metrics.jsonl"),
            until=steps,
        )
    return tell(at_marks(samples, until=steps), unit="step")


if __name__ == "__main__":
    sys.exit(main())
