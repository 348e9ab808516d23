"""Fuzz the readers for some minutes: `python -m tests.fuzz.readers --minutes 3`. pytest does not run it.

Each reader gets its own process and an equal share of the time. The exit code is 1 if a reader raised an error other
than those that are reported in one line, hung, died, or ran code from an input.
"""

import argparse
import multiprocessing
import sys
import tempfile
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

from tests.fuzz.engine import Result, fuzz, limit_memory
from tests.fuzz.targets import targets

SPARE_BYTES = 2 * 2**30
STUCK_S = 120


def work(index: int, seconds: float, seed: int, scratch: Path, send: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    target = targets(scratch)[index]
    limit_memory(SPARE_BYTES)
    send.send(fuzz(target, seconds=seconds, seed=seed, scratch=scratch))


def run_one(index: int, name: str, *, seconds: float, seed: int, output: Path) -> Result:
    scratch = output / f"{index}-{name.replace('/', '-')}"
    scratch.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(index, seconds, seed, scratch, send))
    process.start()
    send.close()
    try:
        if not receive.poll(
            seconds + STUCK_S
        ):  # a library that never returns can't be interrupted by a signal
            process.kill()
        return receive.recv()
    except EOFError:
        process.join()
        died = {f"the process died ({process.exitcode})": str(scratch / "input" / name)}
        return Result(name, findings=died)
    finally:
        process.join()


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.fuzz.readers", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="in all (default: 3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="targets whose name contains this")
    parser.add_argument("--output", type=Path, help="folder for what is found (default: a temporary one)")
    asked = parser.parse_args()
    output = asked.output or Path(tempfile.mkdtemp(prefix="fuzz-"))
    names = [(index, target.name) for index, target in enumerate(targets(output))]
    chosen = [(index, name) for index, name in names if not asked.only or asked.only in name]
    findings = 0
    print(f"{'reader of':30}{'inputs':>8}{'taken':>8}{'kept':>6}{'edges':>7}  findings", flush=True)
    total = 0
    for index, name in chosen:
        seconds = 60 * asked.minutes / len(chosen)
        result = run_one(index, name, seconds=seconds, seed=asked.seed, output=output)
        print(
            f"{name:30}{result.runs:8,}{result.accepted:8,}{result.kept:6,}{result.lines:7,}  {len(result.findings)}",
            flush=True,
        )
        for what, detail in result.findings.items():
            print(f"  {what}\n    " + detail.strip().replace("\n", "\n    "), flush=True)
        findings += len(result.findings)
        total += result.runs
    print(f"{total:,} inputs, {findings} findings" + (f"; inputs in {output}" if findings else ""))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
