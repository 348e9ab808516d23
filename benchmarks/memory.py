"""Peak memory of TENET training compared with plain training, and of the phases of an inhibited step.

    python benchmarks/memory.py [--device cpu|cuda] [--batch 256] [--precision fp32|bf16]

Each kind takes some steps of ResNeXt-29 in a process of its own. On CUDA the figures are the allocator's
(torch.cuda.max_memory_allocated). On a CPU they are the process's peak resident size minus that before the first step,
with an allocator that returns all freed memory at once.
"""

import os
import resource
import subprocess
import sys

import torch
from timing import hardware, make_parser, report
from training import make_rehearsal

from tenet.inhibition import group_channels
from tenet.methods import importance_pass

# Otherwise glibc keeps a varying part of freed memory, and the peak is a matter of luck.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
KINDS = ("plain", "importance pass", "grouping", "inhibited step")


def peak_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(kind: str, *, device: str, batch: int, precision: str) -> int:
    """Peak bytes of plain steps, each followed by `kind`."""
    torch.manual_seed(0)
    rehearsal = make_rehearsal(device, precision, "trainer.channels_last=true")
    before = 0 if device == "cuda" else peak_bytes(device)
    images = rehearsal.random_batch(batch)
    for _ in range(2):
        steps = rehearsal.steps(images)
        next(steps)
        if kind == "inhibited step":
            next(steps)
        steps.close()
        if kind in ("importance pass", "grouping"):
            features, _ = importance_pass(rehearsal.experiment.network, images.images, images.labels)
            if kind == "grouping":
                group_channels(features, groups=6)
    return peak_bytes(device) - before


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--kind", choices=KINDS, help="measure only this, and print bytes")
    args = parser.parse_args()
    if args.kind:
        print(measure(args.kind, device=args.device, batch=args.batch, precision=args.precision))
        return
    peaks: dict[str, int] = {}
    for kind in KINDS:
        done = subprocess.run(
            [sys.executable, *sys.argv, "--kind", kind],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, **GIVE_BACK},
        )
        peaks[kind] = int(done.stdout)
    ratio = peaks["inhibited step"] / peaks["plain"]
    print(
        f"{hardware(args.device)}, torch {torch.__version__}, {args.precision}, batch {args.batch}: peak memory"
    )
    for kind, peak in peaks.items():
        with_plain = "" if kind == "plain" else "  after plain steps"
        print(f"  {kind:<16}{peak / 2**20:10,.0f} MiB{with_plain}")
    print(f"  TENET takes {ratio:.2f} x the memory of plain training")
    report(
        "memory",
        device=args.device,
        ratios={"tenet_over_plain": ratio},
        batch=args.batch,
        precision=args.precision,
        peak_bytes=peaks,
    )


if __name__ == "__main__":
    main()
