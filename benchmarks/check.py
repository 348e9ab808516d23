"""Check that nothing has become slower: compare the benchmarks' ratios with those recorded in ratios.json.

    python benchmarks/check.py [--device cpu|cuda] [--only NAME ...] [--record]

Runs the benchmarks at small sizes, on a CPU in one thread, in two or three minutes. A ratio is too high if it exceeds
the recorded ratio plus its tolerance plus 0.01: a hundredth of the reference time does not matter. A benchmark with such
a ratio runs once more, and the lower ratios of the two runs count: noise passes, a slowdown stays. The exit code is 1 if
a ratio is still too high. --record runs each benchmark three times and writes medians, spreads and tolerances (25 %, for
memory 3 %, or twice the spread if that is more), with hardware and version, to ratios.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).resolve().parent
# By kind of device: sizes at which the ratios are stable and the check takes minutes.
ARGUMENTS = {
    "cpu": {
        "step": "--batch 2 --grouped 8 --repeats 11",
        "epoch": "--backbone resnet8 --batch 16 --steps 6 --warm-up 60 --repeats 15",
        "phases": "--batch 2 --repeats 15",
        "augment": "--batch 8 --workers 0 --repeats 9",
        "memory": "--batch 4",
        "corruptions": "--images 32 --repeats 25",
        "evaluate": "--backbone resnet8 --images 32 --batch 32 --repeats 7",
    },
    "cuda": {
        "step": "--precision bf16 --batch 256 --grouped 256",
        "epoch": "--precision bf16",
        "phases": "--precision bf16",
        "augment": "--precision bf16",
        "memory": "--precision bf16",
        "corruptions": "",
        "evaluate": "--precision bf16",
    },
}
# These keep ratios stable on a busy CPU: one thread, for which timing.py measures processor time, and an allocator that
# keeps freed memory, because requesting it again takes a varying time, at worst longer than the work itself.
STEADY = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}
RECORDED_RUNS = 3
# Memory peaks hardly vary between runs; times do.
TOLERANCES = {"memory": 0.03}
TOLERANCE, SPREADS, SLACK = 0.25, 2, 0.01


class Recorded(NamedTuple):
    """ratio: the median of the recorded runs. spread, tolerance: their range and the allowed excess, relative to it."""

    ratio: float
    spread: float
    tolerance: float

    @property
    def limit(self) -> float:
        return self.ratio * (1 + self.tolerance) + SLACK


def summarize(runs: Sequence[Mapping[str, float]], *, tolerance: float = TOLERANCE) -> dict[str, Recorded]:
    """tolerance: the minimum."""
    summary = {}
    for name in runs[0]:
        column = [run[name] for run in runs]
        ratio = statistics.median(column)
        spread = (max(column) - min(column)) / ratio
        summary[name] = Recorded(
            float(f"{ratio:.4g}"), round(spread, 3), round(max(tolerance, SPREADS * spread), 3)
        )
    return summary


def too_high(recorded: Mapping[str, Recorded], measured: Mapping[str, float]) -> list[str]:
    """The ratios above their limits, and recorded ratios that are no longer measured."""
    return [name for name, known in recorded.items() if not measured.get(name, float("inf")) <= known.limit]


def run_benchmark(name: str, *, device: str, folder: Path) -> dict[str, Any]:
    """The values of its last line. Exits if the benchmark fails; it has printed the reason."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, folder / f"{name}.py", "--device", device, *ARGUMENTS[device][name].split()],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(STEADY if device == "cpu" else {})},
    )
    if done.returncode:
        sys.exit(f"{name}.py failed")
    print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, recorded: Mapping[str, Recorded], *, device: str, folder: Path) -> dict[str, float]:
    """Its ratios; if one is too high, the lower ratios of two runs."""
    measured = run_benchmark(name, device=device, folder=folder)["ratios"]
    if too_high(recorded, measured):
        again = run_benchmark(name, device=device, folder=folder)["ratios"]
        measured = {ratio: min(measured[ratio], again[ratio]) for ratio in measured}
    return measured


def record(name: str, *, device: str, folder: Path) -> dict[str, Any]:
    runs = [run_benchmark(name, device=device, folder=folder) for _ in range(RECORDED_RUNS)]
    ratios = summarize([run["ratios"] for run in runs], tolerance=TOLERANCES.get(name, TOLERANCE))
    return {
        "hardware": runs[0]["hardware"],
        "torch": runs[0]["torch"],
        "arguments": ARGUMENTS[device][name],
        "ratios": {ratio: known._asdict() for ratio, known in ratios.items()},
    }


def record_all(names: Sequence[str], *, device: str, folder: Path) -> int:
    for name in names:
        recorded = record(name, device=device, folder=folder)
        records = read_records(folder)
        records.setdefault(device, {})[name] = recorded
        (folder / "ratios.json").write_text(json.dumps(records, indent=2) + "\n")
    print(folder / "ratios.json")
    return 0


def check_all(names: Sequence[str], *, device: str, folder: Path) -> int:
    """Print a row for every ratio; return 1 if one is too high."""
    records = read_records(folder).get(device, {})
    if unknown := [name for name in names if name not in records]:
        print(f"error: no ratios of {', '.join(unknown)} are recorded for {device}: run this with --record")
        return 2
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("benchmark", "ratio", "recorded", "limit", "measured"):
        table.add_column(column, justify="left" if column in ("benchmark", "ratio") else "right")
    regressions = []
    for name in names:
        recorded = {ratio: Recorded(**values) for ratio, values in records[name]["ratios"].items()}
        measured = measure(name, recorded, device=device, folder=folder)
        slower = too_high(recorded, measured)
        for ratio, known in recorded.items():
            now = f"{measured[ratio]:.3f}" if ratio in measured else "missing"
            table.add_row(
                name,
                ratio,
                f"{known.ratio:.3f}",
                f"{known.limit:.3f}",
                now,
                style="red" if ratio in slower else None,
            )
            if ratio in slower:
                regressions.append(f"too high: {name} {ratio}: {now}, at most {known.limit:.3f}")
        table.add_section()
    Console().print(table)
    about = {(records[name]["hardware"], records[name]["torch"]) for name in names}
    print("recorded on", "; ".join(f"{hardware}, torch {torch}" for hardware, torch in sorted(about)))
    print(*(regressions or ["no ratio is too high"]), sep="\n")
    return int(bool(regressions))


def read_records(folder: Path) -> dict[str, Any]:
    path = folder / "ratios.json"
    return json.loads(path.read_text()) if path.exists() else {}


def main(arguments: Sequence[str] | None = None, *, folder: Path = FOLDER) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=ARGUMENTS, help="default: cuda if available")
    parser.add_argument(
        "--only", nargs="+", choices=ARGUMENTS["cpu"], default=list(ARGUMENTS["cpu"]), metavar="NAME"
    )
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args(arguments)
    if args.device is None:
        import torch

        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    return (record_all if args.record else check_all)(args.only, device=args.device, folder=folder)


if __name__ == "__main__":
    sys.exit(main())
