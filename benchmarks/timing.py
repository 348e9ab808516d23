"""Shared by the benchmarks: timing actions in turn, the line of JSON, the hardware's name and its best speeds."""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from tenet.run.environment import cpu_model


def make_parser(description: str | None, *, precision: bool = True) -> argparse.ArgumentParser:
    """A parser with --device, by default a GPU if there is one, and --precision."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=_device, default=default, metavar="cpu|cuda")
    if precision:
        parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    return parser


def _device(name: str) -> str:
    if name not in ("cpu", "cuda"):
        raise argparse.ArgumentTypeError(
            f"{name}: give cpu or cuda (of several GPUs, CUDA_VISIBLE_DEVICES chooses)"
        )
    if name == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("torch sees no CUDA device")
    return name


def takes_processor_time(device: str) -> bool:
    """On a CPU in one thread: other programs on a busy machine hardly change it."""
    return device == "cpu" and torch.get_num_threads() == 1


def seconds(action: Callable[[], object], *, device: str, wall: bool = False) -> float:
    """Seconds of one call; on CUDA until the device has finished. wall: use the clock, never the processor's time."""
    clock = time.process_time if takes_processor_time(device) and not wall else time.perf_counter
    if device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def in_turn(
    actions: Sequence[Callable[[], object]], *, repeats: int, device: str, wall: bool = False
) -> list[tuple[float, ...]]:
    """Seconds of the actions, one after another, in each of `repeats` rounds after a warm-up round.

    If the machine's speed drifts, it drifts for all of them.
    """
    rounds = [
        tuple(seconds(action, device=device, wall=wall) for action in actions) for _ in range(repeats + 1)
    ]
    return rounds[1:]


def median_ratio(rounds: Sequence[tuple[float, ...]], of: int, to: int) -> float:
    """The median over the rounds of one action's time divided by another's."""
    return statistics.median(times[of] / times[to] for times in rounds)


def medians(rounds: Sequence[tuple[float, ...]]) -> list[float]:
    """The median seconds of each action."""
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def report(benchmark: str, *, device: str, ratios: Mapping[str, float], **figures: Any) -> None:
    """Print one line of JSON, the last line of every benchmark. A lower ratio, `a_over_b`, is better."""
    line = {
        "benchmark": benchmark,
        "device": device,
        "hardware": hardware(device),
        "torch": torch.__version__,
        "ratios": ratios,
        **figures,
    }
    print(json.dumps(line))


def hardware(device: str) -> str:
    """The name of the GPU, or the CPU with its number of threads."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"{cpu_model()}, {threads} thread{'s' * (threads > 1)}"


def best_arithmetic(*, device: str, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product: the best that this device reaches in practice."""
    size = 8192 if device == "cuda" else 1024
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True  # as cuDNN's convolutions do by default
    times = in_turn([lambda: left @ right], repeats=5, device=device)
    torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * size**3 / min(time for (time,) in times)


def best_bandwidth(*, device: str) -> float:
    """Bytes per second that a copy of a large tensor reads and writes."""
    source = torch.empty((2**30 if device == "cuda" else 2**27) // 4, device=device).fill_(1)
    target = torch.empty_like(source)
    times = in_turn([lambda: target.copy_(source)], repeats=5, device=device)
    return 2 * 4 * source.numel() / min(time for (time,) in times)
