"""Peak memory of TENET training beside plain training, and of the phases of an inhibited step.

    python benchmarks/memory.py [--device cpu|cuda] [--batch 256] [--precision fp32|bf16]

Each kind trains some steps of ResNeXt-29 in a process of its own. On CUDA the figures are the allocator's
(torch.cuda.max_memory_allocated); on a CPU the processes' peak resident size less that before the first step,
with all that is freed given back at once.
"""

import argparse
import os
import resource
import subprocess
import sys

import torch
from timing import add_device, hardware, report
from torch.nn import functional as F

from tenet.inhibition import Inhibition, group_channels
from tenet.networks import ResNeXt
from tenet.training.loop import autocast

# Else glibc keeps what is freed, now more and now less of it, and the peak is a matter of luck.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
KINDS = ("plain", "importance pass", "grouping", "inhibited step")


def peak_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(kind: str, *, device: str, batch: int, precision: str) -> int:
    """Peak bytes of plain steps, each followed by what `kind` names."""
    torch.manual_seed(0)
    model = ResNeXt(num_classes=10).to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, nesterov=True)
    images = torch.randn(batch, 3, 32, 32, device=device)
    labels = torch.randint(10, (batch,), device=device)
    inhibition = Inhibition(layer="stage_2")
    cast = autocast(torch.device(device), precision)
    before = 0 if device == "cuda" else peak_bytes(device)

    def descend(loss: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    for _ in range(2):
        with cast:
            loss = F.cross_entropy(model(images), labels)
        descend(loss)
        with cast:
            if kind == "inhibited step":
                inhibited = inhibition.step(model, images, labels)
                descend(inhibited.loss)
                del inhibited  # as the training loop does
            elif kind != "plain":
                features, _ = inhibition.importance_pass(model, images, labels)
                if kind == "grouping":
                    group_channels(features, groups=inhibition.groups)
    return peak_bytes(device) - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_device(parser)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--kind", choices=KINDS, help="measure this alone, and print bytes")
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
