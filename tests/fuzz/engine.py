"""A small coverage-guided fuzzer: inputs that reach new lines are kept and mutated again."""

import io
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tenet.errors import UserError
from tests.fuzz.targets import Target

# The files whose lines are counted: this package and the readers that it passes the bytes to.
WATCHED = ("/tenet/", "/numpy/lib/", "/zipfile", "/tarfile", "/torch/serialization", "/torch/_weights_only",
           "/torch/_utils", "/yaml/", "/json/", "/PIL/")  # fmt: skip
SECONDS_PER_INPUT = 5  # of computing
WAITS = 12  # as much time may pass, because other programs may be running
MAX_BYTES = 200_000
NUMBERS = [0, 1, 7, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1]


class Hang(BaseException):
    """Not an Exception, so that the readers do not mistake it for a damaged file."""


@dataclass
class Result:
    """findings: place and type of an error -> the input's file and the traceback."""

    target: str
    runs: int = 0
    accepted: int = 0
    kept: int = 0
    lines: int = 0
    findings: dict[str, str] = field(default_factory=dict)


class Coverage:
    """Records pairs of successive lines in the watched files."""

    def __init__(self) -> None:
        self.seen: set[tuple[CodeType, int, int]] = set()
        self.is_watched: dict[str, bool] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        if name not in self.is_watched:
            self.is_watched[name] = any(part in name for part in WATCHED)
        if not self.is_watched[name]:
            return None
        last = 0

        def trace(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            nonlocal last
            if event == "line":
                self.seen.add((frame.f_code, last, frame.f_lineno))
                last = frame.f_lineno
            return trace

        return trace


def mutate(content: bytes, target: Target, others: list[bytes], rng: random.Random) -> bytes:
    """Make a few random changes. More than half the time, change a member of a zip and correct its checksum."""
    if content[:2] == b"PK" and rng.random() < 0.6:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
        except Exception:
            members = {}
        if members:
            name = rng.choice(list(members))
            members[name] = mutate_bytes(members[name], target, others, rng)
            buffer = io.BytesIO()
            method = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
            with zipfile.ZipFile(buffer, "w", method) as archive:
                for member, data in members.items():
                    archive.writestr(member, data)
            return buffer.getvalue()
    return mutate_bytes(content, target, others, rng)


def mutate_bytes(content: bytes, target: Target, others: list[bytes], rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at, size = rng.randrange(len(data) + 1), rng.choice([1, 2, 4, 8, 32])
        match rng.randrange(9):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + 1] = bytes([rng.choice(NUMBERS) & 255])
            case 2:
                width = rng.choice([1, 2, 4, 8])
                number = rng.choice(NUMBERS) & (256**width - 1)
                data[at : at + width] = number.to_bytes(width, rng.choice(["little", "big"]))
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = rng.choice(target.tokens)
            case 5:
                token = rng.choice(target.tokens)
                data[at : at + len(token)] = token
            case 6:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                data[at : at + size] = other[start : start + rng.choice([size, 8 * size])]
            case 7:
                data[at:at] = data[at : at + size] * rng.choice([1, 3, 100])
            case 8:
                replace_number(data, rng)
    if rng.random() < 0.05:
        del data[rng.randrange(len(data) + 1) :]
    return bytes(data[:MAX_BYTES])


def replace_number(data: bytearray, rng: random.Random) -> None:
    """Replace one decimal digit by another number."""
    digits = [index for index, byte in enumerate(data[:4000]) if 48 <= byte <= 57]
    if digits:
        at = rng.choice(digits)
        data[at : at + 1] = str(rng.choice([*NUMBERS, -1, 10**30, 0.5, 1e308])).encode()


def fuzz(target: Target, *, seconds: float, seed: int, scratch: Path) -> Result:
    """Run `target` on mutations of its seeds. Every exception other than UserError and OSError is a finding."""
    rng, coverage, result = random.Random(seed), Coverage(), Result(target.name)
    corpus, folder = list(target.seeds), scratch / "input"
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _hang)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        first = result.runs < len(target.seeds)
        content = corpus[result.runs] if first else mutate(rng.choice(corpus), target, corpus, rng)
        shutil.rmtree(folder, ignore_errors=True)
        path = folder / target.name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        before = len(coverage.seen)
        result.runs += 1
        # Seeds get more time, because the first call of a reader imports its modules.
        limit_s = 12 * SECONDS_PER_INPUT if first else SECONDS_PER_INPUT
        finding = _try(target, path, coverage, result, limit_s)
        if (scratch / "canary").exists():
            finding = ("code of the input ran", "")
            (scratch / "canary").unlink()
        if finding is not None and finding[0] not in result.findings:
            kept = scratch / f"finding-{len(result.findings)}-{target.name.replace('/', '-')}"
            kept.write_bytes(content)
            result.findings[finding[0]] = f"{kept}\n{finding[1]}"
        if len(coverage.seen) > before and not first:
            corpus.append(content)
    result.kept, result.lines = len(corpus), len(coverage.seen)
    return result


def _try(
    target: Target, path: Path, coverage: Coverage, result: Result, limit_s: float
) -> tuple[str, str] | None:
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    signal.setitimer(signal.ITIMER_REAL, WAITS * limit_s)
    sys.settrace(coverage)
    try:
        target.read(path)
    except (UserError, OSError):
        return None
    except (Hang, Exception) as error:
        sys.settrace(None)
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {place.filename}:{place.lineno}", traceback.format_exc()
    else:
        result.accepted += 1
        return None
    finally:
        sys.settrace(None)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang("it took too long")


def limit_memory(spare_bytes: int) -> None:
    """Limit the address space to what this process has now plus `spare_bytes`."""
    space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (space + spare_bytes, resource.RLIM_INFINITY))
