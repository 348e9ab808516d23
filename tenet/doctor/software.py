"""Versions: Python, the packages and whether they fit together, and the commit of the code."""

import platform
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from tenet import __version__
from tenet.config.plugins import used_plugins
from tenet.doctor.findings import Finding, Plan, ok, problem, warning
from tenet.files.names import PATCH_FILE
from tenet.run.environment import code_version

PACKAGE = "tenet-training"
REPOSITORY = Path(__file__).resolve().parents[2]
# Listed in the report; other packages appear only if there is a problem with them.
LISTED = ("torch", "torchvision", "hydra-core", "wandb")


def check(plan: Plan) -> Iterator[Finding]:
    yield ok(f"Python {platform.python_version()}, {PACKAGE} {__version__}", python=platform.python_version())
    yield from check_packages()
    if plugins := used_plugins(plan.config):
        versions = ", ".join(f"{name} {version}" for name, version in plugins.items())
        yield ok(f"plugins: {versions}", plugins=plugins)
    yield check_commit()


def check_packages() -> Iterator[Finding]:
    """Whether this package's requirements are met, and torchvision's requirement of torch."""
    try:
        unmet = find_unmet(PACKAGE)
    except PackageNotFoundError:
        yield problem(f"{PACKAGE} is not installed in this Python", f"pip install -e {REPOSITORY}")
        return
    for requirement, installed in unmet:
        yield problem(f"{requirement} is required, {installed}", f"pip install '{requirement}'")
    with suppress(PackageNotFoundError):
        # torchvision's operators are compiled for one version of torch.
        for requirement, installed in find_unmet("torchvision"):
            if requirement.name == "torch":
                yield problem(
                    f"torchvision {version('torchvision')} was built for {requirement}, {installed}",
                    f"pip install --upgrade torchvision '{requirement}'",
                )
    if not unmet:
        versions = {name: version(name) for name in LISTED}
        yield ok(", ".join(f"{name} {found}" for name, found in versions.items()), versions=versions)


def find_unmet(package: str) -> list[tuple[Requirement, str]]:
    """The requirements of a package that are not met, without those of extras, and what is installed instead.

    Raises PackageNotFoundError if the package itself is not installed.
    """
    unmet = []
    for requirement in map(Requirement, requires(package) or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            unmet.append((requirement, "and it is not installed"))
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            unmet.append((requirement, f"but {installed} is installed"))
    return unmet


def check_commit() -> Finding:
    """The commit of the code: figures without one can't be reproduced."""
    version = code_version()
    if version is None:
        return warning(
            "the code is not in a git repository (or git does not answer): the run can't be traced to a commit",
            "train from a clone of the repository",
        )
    commit = str(version["commit"])[:7]
    if version["dirty"]:
        return warning(
            f"commit {commit} with uncommitted changes: the run folder keeps those of tracked files ({PATCH_FILE})",
            "git commit", **version,
        )  # fmt: skip
    return ok(f"commit {commit}", **version)
