"""Start programs as torchrun does, and the options of a small run."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TINY = [
    "dataset=digits", "dataset.fraction=0.1", "backbone=resnet8", "backbone.width=4", "tenet.groups=3",
    "tenet.start_step=4", "tenet.interval=2", "trainer.batch_size=32", "trainer.epochs=2", "trainer.device=cpu",
    "trainer.log_every_steps=3", "tracking=none",
]  # fmt: skip


def torchrun(script, *arguments, cwd, processes=2, restarts=0):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}",
                f"--max-restarts={restarts}", "--master-addr=127.0.0.1", f"--master-port={port}"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*launcher, str(script), *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
