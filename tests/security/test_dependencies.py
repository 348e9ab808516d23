"""Every dependency, including indirect ones, is pinned to one version, and the installed packages satisfy the project."""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


def pins() -> dict[str, Requirement]:
    """Return name -> constraint, for the constraints that apply to this Python."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    held = [pin for pin in found if pin.marker is None or pin.marker.evaluate()]
    assert len({canonicalize_name(pin.name) for pin in held}) == len(held), "a package is pinned twice"
    return {canonicalize_name(pin.name): pin for pin in held}


def installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def own() -> list[Requirement]:
    """Return the dependencies in pyproject.toml, including all extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [
        Requirement(text)
        for text in (*project["dependencies"], *(text for extra in extras for text in extra))
    ]


def dependencies() -> dict[str, list[Requirement]]:
    """Return name -> requirements of the project and of all its dependencies, in this environment."""
    found: dict[str, list[Requirement]] = {}
    waiting, done = own(), set[tuple[str, str]]()
    while waiting:
        wanted = waiting.pop()
        found.setdefault(canonicalize_name(wanted.name), []).append(wanted)
        package = installed(wanted.name)
        for extra in ("", *wanted.extras):
            if package is None or (wanted.name, extra) in done:
                continue
            done.add((wanted.name, extra))
            requirements = map(Requirement, package.requires or ())
            waiting += [
                one for one in requirements if one.marker is None or one.marker.evaluate({"extra": extra})
            ]
    return found


PINS, NEEDED = pins(), dependencies()


def test_the_dependencies_are_found() -> None:
    assert {"torch", "hydra-core", "wandb", "optuna", "pytest", "antlr4-python3-runtime"} <= NEEDED.keys()
    assert len(NEEDED) > 40


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_every_dependency_is_pinned_and_the_pin_satisfies_all_requirements(name: str) -> None:
    assert name in PINS, f"{name} is needed and not in constraints.txt"
    (pin,) = PINS[name].specifier
    assert pin.operator == "=="
    for requirement in NEEDED[name]:
        assert requirement.specifier.contains(pin.version, prereleases=True), f"{requirement} is not {pin}"


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_the_installed_versions_satisfy_all_requirements(name: str) -> None:
    package = installed(name)
    if package is None:  # a GPU dependency of torch, if torch is the CPU build
        return
    for requirement in NEEDED[name]:
        assert requirement.specifier.contains(package.version, prereleases=True), (
            f"{requirement}: {package.version}"
        )


@pytest.mark.parametrize(
    ("name", "too_old"),
    [
        ("hydra-core", "1.3.7"),  # interpolations could run code
        ("torch", "2.5.1"),  # torch.load with weights_only=True could run code (CVE-2025-32434)
    ],
)
def test_versions_that_can_be_made_to_run_code_are_not_allowed(name: str, too_old: str) -> None:
    (wanted,) = (requirement for requirement in own() if requirement.name == name)
    assert not wanted.specifier.contains(too_old)
    assert Version(distribution(name).version) > Version(too_old)


def test_constraints_are_plain_pins() -> None:
    """The file contains no index, address or option."""
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r'(#.*|[a-z0-9-]+==[0-9a-z.]+( ; python_version (<|>=) "3\.\d+")?|)', line), line
