"""Runs the parts of benchmarks/gpu.sh one after another and writes the table of their figures with their targets.

    python benchmarks/gpu.py [--parts NAME ...] [--small] [--device cpu|cuda] [--seconds 460] [--output build/gpu]

Each part is a benchmark, or tests, in a process of its own with a time limit; all together end within --seconds. After each
part OUTPUT/gpu.json and gpu.md are written anew, so that nothing is lost if the command itself is killed; gpu.log has the
parts' own output. --small runs at sizes for a rehearsal on a CPU, whose figures mean nothing.
"""

import argparse
import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import torch
from check import STEADY
from gpu_figures import FIGURES, markdown
from timing import hardware

from tenet.run.environment import code_version

ROOT = Path(__file__).resolve().parents[1]
# Collecting the others would take longer than running these.
GPU_TESTS = " ".join(
    str(path.relative_to(ROOT))
    for path in sorted((ROOT / "tests").rglob("test_*.py"))
    if "mark.gpu" in path.read_text()
)
PYTEST = "-m pytest -q -m gpu -p no:cacheprovider"
METHODS = "augmix augmix+jsd prime prime+jsd hybrid++-ps fgsm-rs pgd-7 trades-10 free-4"
RESUME = "tests/gpu/test_training.py -k killed"


class Part(NamedTuple):
    """The arguments of Python on a GPU and in a rehearsal, and the seconds after which the part is given up."""

    arguments: str
    small: str
    limit_s: int


# The most important first: the last ones may find no time left.
PARTS = {
    "tests": Part(f"{PYTEST} {GPU_TESTS} -k 'not killed'", f"{PYTEST} {GPU_TESTS} -k 'not killed'", 75),
    "step": Part(
        "benchmarks/step.py --precision bf16 --batch 256 --grouped 256 --looped 4 --repeats 5",
        "benchmarks/step.py --batch 2 --grouped 4 --looped 2 --repeats 2",
        60,
    ),
    "phases": Part("benchmarks/phases.py --precision bf16", "benchmarks/phases.py --batch 2 --repeats 1", 60),
    "epoch": Part(
        "benchmarks/epoch.py --precision bf16 --steps 30",
        "benchmarks/epoch.py --backbone resnet8 --batch 8 --steps 3 --warm-up 6 --repeats 1",
        60,
    ),
    "methods": Part(
        f"benchmarks/methods.py --backbone resnext29 --precision bf16 --batch 256 --steps 6 --repeats 3 --only {METHODS}",
        f"benchmarks/methods.py --backbone resnet8 --batch 4 --steps 1 --repeats 1 --only {METHODS}",
        90,
    ),
    "memory": Part("benchmarks/memory.py --precision bf16", "benchmarks/memory.py --batch 2", 60),
    "evaluate": Part(
        "benchmarks/evaluate.py --precision bf16 --images 2000 --repeats 1",
        "benchmarks/evaluate.py --backbone resnet8 --images 2 --repeats 1",
        75,
    ),
    "resume": Part(f"{PYTEST} {RESUME}", f"{PYTEST} {RESUME}", 90),
    "ddp": Part(
        "benchmarks/ddp.py --precision bf16", "benchmarks/ddp.py --backbone resnet8 --batch 4 --repeats 2", 45
    ),
    "images": Part(
        "benchmarks/images.py --backbone resnet50 --images 10000 --batch 128 --workers 14 --files 1000 --repeats 1",
        "benchmarks/images.py --images 32 --batch 16 --workers 1 --steps 2 --files 1000 --repeats 1",
        60,
    ),
    "augment": Part(
        "benchmarks/augment.py --precision bf16 --compile --repeats 3",
        "benchmarks/augment.py --batch 4 --workers 0 --repeats 1",
        75,
    ),
    "compiled": Part(
        "benchmarks/epoch.py --precision bf16 --steps 30 --repeats 2 --compile",
        "benchmarks/epoch.py --backbone resnet8 --batch 8 --steps 3 --warm-up 6 --repeats 1 --compile",
        150,
    ),
}
assert PARTS.keys() == FIGURES.keys()

PATIENCE = 6  # how many times as long a rehearsal may take


def run_part(words: list[str], *, limit_s: float, device: str, log: Path) -> tuple[str, str]:
    """What the part printed, and the reason why it failed, or nothing."""
    environment = {**os.environ, **(STEADY if device == "cpu" else {}), "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,  # so that its own processes end with it
        )
        try:
            output, _ = process.communicate(timeout=limit_s)
            problem = f"exit code {process.returncode}" if process.returncode else ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            problem = f"not done after {limit_s:.0f} s"
        stderr.write(output)
    return output.decode(errors="replace"), problem


def report_of(output: str) -> dict[str, Any]:
    """The line of JSON in which a benchmark ends, or the counts in which pytest does."""
    last = (output.strip().splitlines() or [""])[-1]
    if last.startswith("{"):
        return json.loads(last)
    return {
        kind.removesuffix("s"): int(count)
        for count, kind in re.findall(r"(\d+) (passed|failed|skipped|errors?)", last)
    }


def take(name: str, *, small: bool, device: str, limit_s: float, log: Path) -> dict[str, Any]:
    part = PARTS[name]
    words = shlex.split(part.small if small else part.arguments)
    if words[0] != "-m":
        words += ["--device", device]
    start = time.monotonic()
    output, problem = run_part(
        words, limit_s=min(part.limit_s * (PATIENCE if small else 1), limit_s), device=device, log=log
    )
    taken = {
        "command": shlex.join(["python", *words]),
        "seconds": round(time.monotonic() - start, 1),
        "problem": problem,
    }
    return {**taken, "report": report_of(output) if not problem or words[0] == "-m" else {}}


def describe(device: str, *, small: bool) -> dict[str, Any]:
    version = code_version() or {}
    return {
        "hardware": hardware(device),
        "cpus": len(os.sched_getaffinity(0)),
        "device": device,
        "small": small,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "commit": os.environ.get("COMMIT") or version.get("commit"),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument(
        "--seconds", type=float, help="for all parts; default: 460, and no limit with --small"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "gpu")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    log = args.output / "gpu.log"
    log.write_bytes(b"")
    start = time.monotonic()
    seconds = args.seconds or (float("inf") if args.small else 460)
    results = {**describe(args.device, small=args.small), "parts": {}}
    for name in args.parts:
        left = seconds - (time.monotonic() - start)
        if left < 5:
            taken = {"command": "", "seconds": 0.0, "problem": "no time was left", "report": {}}
        else:
            taken = take(name, small=args.small, device=args.device, limit_s=left, log=log)
        results["parts"][name] = taken
        (args.output / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
        (args.output / "gpu.md").write_text(markdown(results))
        print(f"{name}: {taken['problem'] or 'done'}, {taken['seconds']:.0f} s", flush=True)
    print(markdown(results))
    return int(any(taken["problem"] for taken in results["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
