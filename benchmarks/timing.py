"""What the benchmarks share: actions timed in turn, the line of JSON, the hardware's name and its best speeds."""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tenet.config.build import build
from tenet.files.plain import read_yaml

CONF = Path(__file__).resolve().parents[1] / "conf" / "backbone"
BACKBONES = sorted(path.stem for path in CONF.glob("*.yaml"))


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device: the GPU where there is one."""
    parser.add_argument(
        "--device", type=_device, default="cuda" if torch.cuda.is_available() else "cpu", metavar="cpu|cuda"
    )


def _device(name: str) -> str:
    if name not in ("cpu", "cuda"):
        raise argparse.ArgumentTypeError(
            f"{name}: give cpu or cuda (of several GPUs, CUDA_VISIBLE_DEVICES chooses)"
        )
    if name == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("torch sees no CUDA device")
    return name


def takes_processor_time(device: str) -> bool:
    """On a CPU in one thread: what other programs do to a busy machine hardly lengthens it."""
    return device == "cpu" and torch.get_num_threads() == 1


def seconds(action: Callable[[], object], *, device: str, wall: bool = False) -> float:
    """Of one call; on CUDA until the device has done it. `wall`: never the processor's own time."""
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
    """Seconds of the actions, one after the other, `repeats` times after one round that does not count: a
    drift of the machine's speed touches all of them alike."""
    rounds = [
        tuple(seconds(action, device=device, wall=wall) for action in actions) for _ in range(repeats + 1)
    ]
    return rounds[1:]


def median_ratio(rounds: Sequence[tuple[float, ...]], of: int, to: int) -> float:
    """The median over the rounds of one action's time over another's."""
    return statistics.median(times[of] / times[to] for times in rounds)


def report(benchmark: str, *, device: str, ratios: Mapping[str, float], **figures: Any) -> None:
    """Print one line of JSON, the last of every benchmark. Of a ratio, `a_over_b`, less is better."""
    line = {
        "benchmark": benchmark,
        "device": device,
        "hardware": hardware(device),
        "torch": torch.__version__,
        "ratios": ratios,
        **figures,
    }
    print(json.dumps(line))


def build_backbone(name: str) -> Any:
    """The network of `conf/backbone/<name>.yaml`, for 10 classes."""
    return build(read_yaml(CONF / f"{name}.yaml"), num_classes=10, key="backbone")


def hardware(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' * (threads > 1)}"


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
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True  # as cuDNN's convolutions do by default
    times = in_turn([lambda: left @ right], repeats=5, device=device)
    torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * size**3 / min(time for (time,) in times)


def best_bandwidth(*, device: str) -> float:
    """Bytes a second that a copy of a large tensor reads and writes."""
    source = torch.empty((2**30 if device == "cuda" else 2**27) // 4, device=device).fill_(1)
    target = torch.empty_like(source)
    times = in_turn([lambda: target.copy_(source)], repeats=5, device=device)
    return 2 * 4 * source.numel() / min(time for (time,) in times)
