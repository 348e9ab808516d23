"""Kill processes of a run at random moments, until it has finished; its weights must be an undisturbed run's, bit for bit.

    python -m tests.distributed.kills --kills 20 --machines 1 --processes 2

Each machine is a torchrun of its own on this one, and finds the others through c10d rendezvous. A process may be killed
wherever it is: while it starts, waits for the others, trains, evaluates, or writes. The images are files, which two
workers of each process read.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "dataset=images", "dataset.path=images", "dataset.crop=16", "dataset.workers=2", "backbone=resnet8",
    "backbone.width=4", "augment=standard", "tenet.groups=3", "tenet.interval=2", "tenet.start_step=4",
    "trainer.batch_size=8", "trainer.epochs=3", "trainer.checkpoint_every_steps=2",
    "trainer.log_every_steps=3", "trainer.device=cpu", "tracking=none",
]  # fmt: skip
MAX_S = 600


def write_images(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for split, count in {"train": 48, "val": 8}.items():
        for index in range(count):
            path = folder / split / f"class_{index % 2}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(128, size=(20, 20, 3)) + 100 * (index % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(path)


class Launchers:
    """The torchruns of one run, in the folder `cwd`."""

    def __init__(self, cwd: Path, *arguments: str, machines: int, processes: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [
            sys.executable, "-m", "torch.distributed.run", f"--nnodes={machines}", f"--nproc-per-node={processes}",
            "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--max-restarts=100",
            str(ROOT / "train.py"), *TINY, *arguments,
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.log = cwd / "launchers.log"
        with self.log.open("w") as log:
            self.running = [
                subprocess.Popen(command, cwd=cwd, env=environment, stdout=log, stderr=log)
                for _ in range(machines)
            ]

    def workers(self) -> list[int]:
        """The process ids of the workers that live now."""
        found: list[int] = []
        for launcher in self.running:
            with suppress(OSError):
                children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text()
                found += map(int, children.split())
        return found

    def wait(self, timeout_s: float) -> bool:
        """Whether all end within this time."""
        deadline = time.monotonic() + timeout_s
        for launcher in self.running:
            with suppress(subprocess.TimeoutExpired):
                launcher.wait(max(0.0, deadline - time.monotonic()))
        return all(launcher.poll() is not None for launcher in self.running)

    def kill(self) -> None:
        for pid in [*self.workers(), *(launcher.pid for launcher in self.running)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait(10)


def kill_at_random(launchers: Launchers, generator: random.Random, *, kills: int, within_s: float) -> int:
    """Kill one worker after another, each at a random moment, while the run lasts; return how many were killed."""
    killed = 0
    while killed < kills and not launchers.wait(generator.uniform(0.5, within_s)):
        if workers := launchers.workers():
            with suppress(ProcessLookupError):
                os.kill(generator.choice(workers), signal.SIGKILL)
                killed += 1
    return killed


def run(cwd: Path, name: str, *, machines: int, processes: int) -> Launchers:
    return Launchers(cwd, f"hydra.run.dir={name}", machines=machines, processes=processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in {"kills": 20, "machines": 1, "processes": 2, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    size = {"machines": args.machines, "processes": args.processes}
    generator = random.Random(args.seed)
    with TemporaryDirectory() as folder:
        cwd = Path(folder)
        write_images(cwd / "images")
        began = time.monotonic()
        if not run(cwd, "whole", **size).wait(MAX_S):
            sys.exit("the undisturbed run did not end")
        duration = time.monotonic() - began
        whole = load_file(cwd / "whole" / "weights.safetensors")
        killed = number = 0
        while killed < args.kills:
            number += 1
            launchers = run(cwd, f"run{number}", **size)
            wanted = min(4, args.kills - killed)
            killed += kill_at_random(launchers, generator, kills=wanted, within_s=duration / 2)
            has_ended = launchers.wait(MAX_S)
            log = launchers.log.read_text()
            launchers.kill()
            if not has_ended:
                sys.exit(f"run {number} did not end within {MAX_S} s after {killed} kills:\n{log[-5000:]}")
            weights = load_file(cwd / f"run{number}" / "weights.safetensors")
            if not all(torch.equal(weights[name], value) for name, value in whole.items()):
                sys.exit(f"run {number} ended with other weights:\n{log[-5000:]}")
            time_s = time.monotonic() - began
            print(f"run {number}: the same weights, {killed} kills in all, {time_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
