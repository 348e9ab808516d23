"""Versions: Python, the packages and whether they go together, and the code's own commit."""

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from tenet import __version__
from tenet.doctor.findings import Finding, ok, problem, warning
from tenet.doctor.plan import Plan
from tenet.files.names import PATCH_FILE
from tenet.run.environment import code_version

PACKAGE = "tenet-training"
REPOSITORY = Path(__file__).resolve().parents[2]
# Named in the report; the others only where something is wrong with them.
TOLD = ("torch", "torchvision", "hydra-core", "wandb")


def check(plan: Plan) -> Iterator[Finding]:
    yield ok(f"Python {platform.python_version()}, {PACKAGE} {__version__}", python=platform.python_version())
    yield from check_packages()
    yield check_commit()


def check_packages() -> Iterator[Finding]:
    """Whether the package's own requirements are met, and torchvision's for its torch."""
    try:
        wanted = [requirement for requirement in requires(PACKAGE) or () if "extra ==" not in requirement]
    except PackageNotFoundError:
        yield problem(f"{PACKAGE} is not installed in this Python", f"pip install -e {REPOSITORY}")
        return
    unmet = list(unmet_requirements(wanted))
    for requirement, installed in unmet:
        yield problem(f"{requirement} is required, {installed}", f"pip install '{requirement}'")
    # torchvision's operators are compiled against one torch.
    pair = [need for need in _requirements_of("torchvision") if re.match(r"torch\b", need)]
    for requirement, installed in unmet_requirements(pair):
        plain = re.sub(r"[() ]", "", requirement)
        yield problem(
            f"torchvision {version('torchvision')} was built for {plain}, {installed}",
            f"pip install --upgrade torchvision '{plain}'",
        )
    versions = {name: found for name in TOLD if (found := installed_version(name)) is not None}
    if not unmet:
        yield ok(", ".join(f"{name} {found}" for name, found in versions.items()), versions=versions)


def _requirements_of(package: str) -> list[str]:
    try:
        return requires(package) or []
    except PackageNotFoundError:
        return []


def installed_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def unmet_requirements(wanted: list[str]) -> Iterator[tuple[str, str]]:
    """Of requirements such as `torch>=2.6` or `torch (==2.11.0)`: those not met, and what is installed."""
    for requirement in wanted:
        found = re.match(r"([\w.-]+)\s*\(?\s*(>=|==)\s*([\d.]+)", requirement)
        if found is None:
            continue
        name, relation, number = found.groups()
        installed = installed_version(name)
        if installed is None:
            yield requirement, "and it is not installed"
        elif not (
            release(installed) >= release(number)
            if relation == ">="
            else release(installed) == release(number)
        ):
            yield requirement, f"but {installed} is installed"


def release(text: str) -> tuple[int, ...]:
    """`2.11.0+cpu` -> (2, 11): without the local part, and without zeros that change nothing."""
    numbers = [int(number) for number in re.match(r"\d+(?:\.\d+)*", text)[0].split(".")]  # type: ignore[index]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def check_commit() -> Finding:
    """The commit of the code, since figures without one can't be made again."""
    version = code_version()
    if version is None:
        return warning(
            "the code is not in a git repository (or git does not answer): the run can't be traced to a commit",
            "train from a clone of the repository",
        )
    commit = str(version["commit"])[:7]
    if version["dirty"]:
        return warning(
            f"commit {commit} and changes to it: the run folder keeps those of tracked files ({PATCH_FILE})",
            "git commit", **version,
        )  # fmt: skip
    return ok(f"commit {commit}", **version)
