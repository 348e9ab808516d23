"""What the benchmarks share: two actions timed in turn, the hardware's name, and its own best speeds."""

import platform
import statistics
import time
from collections.abc import Callable, Sequence

import torch


def seconds(action: Callable[[], object], *, device: str) -> float:
    """Of one call; on CUDA until the device has done it."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turn(actions: Sequence[Callable[[], object]], *, repeats: int, device: str) -> list[tuple[float, ...]]:
    """Seconds of the actions, one after the other, `repeats` times after one round that does not count: a
    drift of the machine's speed touches all of them alike."""
    rounds = [tuple(seconds(action, device=device) for action in actions) for _ in range(repeats + 1)]
    return rounds[1:]


def median_ratio(rounds: Sequence[tuple[float, ...]], of: int, to: int) -> float:
    """The median over the rounds of one action's time over another's."""
    return statistics.median(times[of] / times[to] for times in rounds)


def hardware(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def best_arithmetic(*, device: str, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product: what this device does at its best, in practice."""
    size = 8192 if device == "cuda" else 1024
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = in_turn([lambda: left @ right], repeats=5, device=device)
    return 2 * size**3 / min(time for (time,) in times)


def best_bandwidth(*, device: str) -> float:
    """Bytes a second that a copy of a large tensor reads and writes."""
    source = torch.empty((2**30 if device == "cuda" else 2**27) // 4, device=device).fill_(1)
    target = torch.empty_like(source)
    times = in_turn([lambda: target.copy_(source)], repeats=5, device=device)
    return 2 * 4 * source.numel() / min(time for (time,) in times)
