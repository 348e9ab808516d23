"""The machine: cores, memory, CUDA devices, and whether the configuration can use them."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tenet.doctor.findings import Finding, NotExaminedError, ok, problem, warning
from tenet.doctor.plan import Plan

if TYPE_CHECKING:
    from tenet.training.settings import TrainingSettings

GB = 1e9
NVIDIA_SMI_TIMEOUT_S = 10
CGROUPS = Path("/sys/fs/cgroup")
# The first generation of CUDA devices that computes bfloat16 itself (Ampere).
BF16_CAPABILITY = 8


class Driver(NamedTuple):
    """NVIDIA's driver, and the newest CUDA that it supports."""

    version: str
    cuda: str


def check(plan: Plan) -> Iterator[Finding]:
    import torch

    from tenet.device import set_determinism

    settings: TrainingSettings = plan.build("trainer")
    set_determinism(settings.deterministic)  # before anything starts CUDA
    yield from check_cpu()
    wants_cuda = settings.device != "cpu"
    if wants_cuda and torch.cuda.is_available():
        plan.known_device = torch.device("cuda")
        yield from check_cuda_devices(settings)
        return
    if settings.device != "cuda":
        plan.known_device = torch.device("cpu")
    if wants_cuda:
        yield missing_cuda(read_driver(), asked=settings.device == "cuda")
    if plan.known_device is not None and settings.precision == "bf16" and not computes_bf16():
        yield warning(
            "trainer.precision=bf16: this CPU has no bfloat16 instructions; it would be slower than fp32",
            "trainer.precision=fp32",
        )


def check_cpu() -> Iterator[Finding]:
    import torch

    cores, threads, free = usable_cores(), torch.get_num_threads(), free_memory()
    memory = "" if free is None else f", {free / GB:.1f} GB of memory free"
    yield ok(
        f"CPU: {cores} cores, torch threads: {threads}{memory}",
        cores=cores,
        threads=threads,
        free_bytes=free,
    )
    if threads > cores:
        yield warning(
            f"{threads} threads share {cores} cores: they wait for each other", f"OMP_NUM_THREADS={cores}"
        )


def usable_cores() -> int:
    """Those that this process may run on: fewer than the machine's under a scheduler or in a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes that can be had without swapping: the machine's, or what is left of a control group's limit."""
    try:
        known = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    if known is None:
        return None
    return min([1024 * int(known[1]), *_control_group_memory()])


def _control_group_memory() -> Iterator[int]:
    """What is left in each of this process's control groups that has a limit (Linux, version 2)."""
    try:
        own = Path("/proc/self/cgroup").read_text().partition("::/")[2].partition("\n")[0]
    except OSError:
        return
    folder = CGROUPS / own
    while folder.is_relative_to(CGROUPS):
        try:
            limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
            if limit != "max":
                yield max(0, int(limit) - int(used))
        except (OSError, ValueError):
            pass  # not every group has a limit, and not every folder is there inside a container
        folder = folder.parent


def computes_bf16() -> bool:
    try:
        return "bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return True  # not Linux: nothing is known against it


def check_cuda_devices(settings: "TrainingSettings") -> Iterator[Finding]:
    import torch

    driver = read_driver()
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        capability = f"{device.major}.{device.minor}"
        known = {"name": device.name, "capability": capability, "free_bytes": free, "total_bytes": total}
        yield ok(
            f"cuda:{index} {device.name}, {free / GB:.1f} of {total / GB:.1f} GB free, capability {capability}",
            **{f"cuda:{index}": known},
        )
        if free < 0.9 * total:
            yield warning(
                f"cuda:{index}: other processes hold {(total - free) / GB:.1f} GB", "nvidia-smi tells which"
            )
        if not runs_on(device.major, device.minor, torch.cuda.get_arch_list()):
            yield problem(
                f"torch {torch.__version__} holds no code for capability {capability}, only for "
                f"{', '.join(torch.cuda.get_arch_list())}",
                "install a torch built for this device: https://pytorch.org/get-started/locally",
            )
        if settings.precision == "bf16" and device.major < BF16_CAPABILITY:
            yield warning(
                f"trainer.precision=bf16: {device.name} emulates bfloat16 (capability {capability}, not 8.0)",
                "trainer.precision=fp32",
            )
    if torch.cuda.device_count() > 1:
        yield ok(
            f"one process trains on cuda:0; torchrun starts one on each of the {torch.cuda.device_count()}"
        )
    driver_text = f", driver {driver.version} (up to CUDA {driver.cuda})" if driver else ""
    yield ok(f"torch is built for CUDA {torch.version.cuda or torch.version.hip}{driver_text}")


def runs_on(major: int, minor: int, architectures: list[str]) -> bool:
    """Whether a build for these architectures (`sm_80`, `compute_90`) runs on a device: code runs within its
    generation from its own revision on, and PTX is compiled for all that come after it."""
    for architecture in architectures:
        kind, _, number = architecture.partition("_")
        digits = re.match(r"\d+", number)
        if digits is None:
            continue
        built = divmod(int(digits[0]), 10)
        if (kind == "sm" and built[0] == major and built[1] <= minor) or (
            kind == "compute" and built <= (major, minor)
        ):
            return True
    return not architectures


def read_driver() -> Driver | None:
    """What nvidia-smi says; None without it, or where it finds no device."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    try:
        told = subprocess.run(
            [command], capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    version, cuda = (
        re.search(r"Driver Version:\s*([\d.]+)", told),
        re.search(r"CUDA[\w ]*Version:\s*([\d.]+)", told),
    )
    return Driver(version[1], cuda[1]) if version and cuda else None


def missing_cuda(driver: Driver | None, *, asked: bool) -> Finding:
    """Why torch sees no CUDA device: harmless where none was asked for and there is none."""
    import torch

    tell = problem if asked else warning
    key = "trainer.device=cuda: " if asked else ""
    if driver is None:
        if not asked:
            return ok("no CUDA device: the run would train on the CPU")
        return problem(
            f"{key}there is no CUDA device (nvidia-smi shows none)",
            "trainer.device=cpu, or a machine with a GPU",
        )
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return tell(f"{key}CUDA_VISIBLE_DEVICES hides the CUDA devices", "unset CUDA_VISIBLE_DEVICES")
    install = (
        f"install a torch built for CUDA {driver.cuda} or older: https://pytorch.org/get-started/locally"
    )
    has = f"there is an NVIDIA driver {driver.version} (up to CUDA {driver.cuda})"
    built = torch.version.cuda
    if built is None:
        return tell(f"{key}torch {torch.__version__} is a build without CUDA, but {has}", install)
    # Within a major version, CUDA builds run on older drivers.
    if int(built.split(".")[0]) > int(driver.cuda.split(".")[0]):
        return tell(f"{key}torch is built for CUDA {built}, but {has}", f"a newer driver, or {install}")
    return tell(
        f"{key}torch sees no device, though {has}",
        'python -c "import torch; torch.cuda.init()" shows the reason',
    )


def free_device_memory(plan: Plan) -> int:
    """Bytes left on the device that would train. Raises NotExaminedError where the system doesn't tell."""
    import torch

    free = torch.cuda.mem_get_info(plan.device)[0] if plan.device.type == "cuda" else free_memory()
    if free is None:
        raise NotExaminedError("this system does not tell how much memory is free")
    return free
