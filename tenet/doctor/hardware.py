"""The machine: cores, memory, CUDA devices, and whether the run can use them."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from tenet.device import set_determinism
from tenet.doctor.findings import Finding, NotExaminedError, Plan, ok, problem, warning
from tenet.errors import ConfigError

GB = 1e9
NVIDIA_SMI_TIMEOUT_S = 10
CGROUPS = Path("/sys/fs/cgroup")
# The first generation of CUDA devices with bfloat16 in hardware (Ampere).
BF16_CAPABILITY = 8
INSTALLATION = "https://pytorch.org/get-started/locally"


def check(plan: Plan) -> Iterator[Finding]:
    settings = plan.experiment.settings
    set_determinism(settings.deterministic)  # before anything starts CUDA
    cores, threads, free = usable_cores(), torch.get_num_threads(), free_memory()
    memory = "" if free is None else f", {free / GB:.1f} GB of memory free"
    what = f"CPU: {cores} cores, torch threads: {threads}{memory}"
    yield ok(what, cores=cores, threads=threads, free_bytes=free)
    if threads > cores:
        what = f"{threads} threads share {cores} cores: they wait for each other"
        yield warning(what, f"OMP_NUM_THREADS={cores}")
    if settings.device != "cpu":
        if torch.cuda.is_available():
            yield from check_cuda_devices(settings.precision)
            return
        yield explain_missing_cuda(read_driver(), is_required=settings.device == "cuda")
    try:
        plan.experiment.device  # noqa: B018 (it is found here)
    except ConfigError as error:
        plan.known_errors.add(str(error))  # reported above, with the reason
        return
    cpu = Path("/proc/cpuinfo")
    if settings.precision == "bf16" and cpu.exists() and "bf16" not in cpu.read_text():
        yield warning(
            "trainer.precision=bf16: this CPU has no bfloat16 instructions; it would be slower than fp32",
            "trainer.precision=fp32",
        )


def usable_cores() -> int:
    """The cores that this process may use: a scheduler or a container may allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes available without swapping, within the limits of control groups; None if the system is not Linux."""
    try:
        known = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    if known is None:
        return None
    free = 1024 * int(known[1])
    groups = Path("/proc/self/cgroup")
    # Version 2 has one line for a process.
    text = groups.read_text() if groups.exists() else ""
    own = CGROUPS / text.partition("::/")[2].partition("\n")[0]
    for folder in (own, *own.parents):
        # Not every group has a limit, and inside a container not every folder exists.
        with suppress(OSError, ValueError):
            limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
            free = min(free, max(0, limit - used))
    return free


def check_cuda_devices(precision: str) -> Iterator[Finding]:
    count = torch.cuda.device_count()
    for index in range(count):
        device = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        name, capability = f"cuda:{index}", f"{device.major}.{device.minor}"
        known = {"name": device.name, "capability": capability, "free_bytes": free, "total_bytes": total}
        memory = f"{free / GB:.1f} of {total / GB:.1f} GB free"
        yield ok(f"{name} {device.name}, {memory}, capability {capability}", **{name: known})
        if free < 0.9 * total:
            yield warning(
                f"{name}: other processes hold {(total - free) / GB:.1f} GB", "nvidia-smi lists them"
            )
        try:
            torch.ones(1, device=name).add_(1).item()
        except Exception as error:  # for example, this build of torch holds no code for the device
            yield problem(
                f"torch {torch.__version__}, built for {', '.join(torch.cuda.get_arch_list())}, can't compute on "
                f"capability {capability}: {str(error).splitlines()[0]}",
                f"install a torch built for this device: {INSTALLATION}",
            )
        if precision == "bf16" and device.major < BF16_CAPABILITY:
            yield warning(
                f"trainer.precision=bf16: {device.name} emulates bfloat16 (capability {capability}, not 8.0)",
                "trainer.precision=fp32",
            )
    if count > 1:
        yield ok(f"one process trains on cuda:0; torchrun starts one on each of the {count}")
    driver = read_driver()
    driver_text = f", driver {driver[0]} (up to CUDA {driver[1]})" if driver else ""
    yield ok(f"torch is built for CUDA {torch.version.cuda or torch.version.hip}{driver_text}")


def read_driver() -> tuple[str, str] | None:
    """The version of NVIDIA's driver and the newest CUDA that it supports; None without nvidia-smi or a device."""
    try:
        output = subprocess.run(
            ["nvidia-smi"], capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"Driver Version:\s*([\d.]+)\s+CUDA[\w ]*Version:\s*([\d.]+)", output)
    return (found[1], found[2]) if found else None


def explain_missing_cuda(driver: tuple[str, str] | None, *, is_required: bool) -> Finding:
    """Why torch sees no CUDA device: a problem if one is required, and no concern if the machine has none."""
    if driver is None:
        if not is_required:
            return ok("no CUDA device: the run would train on the CPU")
        reason = "there is no CUDA device (nvidia-smi shows none)"
        remedy = "trainer.device=cpu, or a machine with a GPU"
    elif os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        reason, remedy = "CUDA_VISIBLE_DEVICES hides the CUDA devices", "unset CUDA_VISIBLE_DEVICES"
    else:
        version, cuda = driver
        has = f"there is an NVIDIA driver {version} (up to CUDA {cuda})"
        install = f"install a torch built for CUDA {cuda} or older: {INSTALLATION}"
        built = torch.version.cuda
        if built is None:
            reason, remedy = f"torch {torch.__version__} is a build without CUDA, but {has}", install
        # Within a major version, CUDA builds run on older drivers.
        elif int(built.split(".")[0]) > int(cuda.split(".")[0]):
            reason, remedy = f"torch is built for CUDA {built}, but {has}", f"a newer driver, or {install}"
        else:
            reason = f"torch sees no device, though {has}"
            remedy = 'python -c "import torch; torch.cuda.init()" shows the reason'
    return problem(f"trainer.device=cuda: {reason}", remedy) if is_required else warning(reason, remedy)


def free_device_memory(device: torch.device) -> int:
    """Free bytes on the device that would train. Raises NotExaminedError if the system does not report it."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    if free is None:
        raise NotExaminedError("this system does not report how much memory is free")
    return free
