"""What is installed is what the project names: every dependency, of dependencies too, at one known version."""

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
    """The constraints that hold for this Python, by name."""
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
    """What pyproject.toml names, all extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [
        Requirement(text)
        for text in (*project["dependencies"], *(text for extra in extras for text in extra))
    ]


def dependencies() -> dict[str, list[Requirement]]:
    """What the project, and all that it brings, require here, by name."""
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


def test_there_are_dependencies_to_judge() -> None:
    assert {"torch", "hydra-core", "wandb", "optuna", "pytest", "antlr4-python3-runtime"} <= NEEDED.keys()
    assert len(NEEDED) > 40


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_every_dependency_is_pinned_and_the_pin_satisfies_all_who_need_it(name: str) -> None:
    assert name in PINS, f"{name} is needed and not in constraints.txt"
    (pin,) = PINS[name].specifier
    assert pin.operator == "=="
    for requirement in NEEDED[name]:
        assert requirement.specifier.contains(pin.version, prereleases=True), f"{requirement} is not {pin}"


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_what_is_installed_satisfies_all_who_need_it(name: str) -> None:
    package = installed(name)
    if package is None:  # a part of torch for GPUs, where torch is the CPU's
        return
    for requirement in NEEDED[name]:
        assert requirement.specifier.contains(package.version, prereleases=True), (
            f"{requirement}: {package.version}"
        )


@pytest.mark.parametrize(
    ("name", "too_old"),
    [
        ("hydra-core", "1.3.7"),  # its interpolations could be made to run code
        ("torch", "2.5.1"),  # its reader of weights alone could be made to run code (CVE-2025-32434)
    ],
)
def test_a_version_that_could_be_made_to_run_code_is_not_allowed(name: str, too_old: str) -> None:
    (wanted,) = (requirement for requirement in own() if requirement.name == name)
    assert not wanted.specifier.contains(too_old)
    assert Version(distribution(name).version) > Version(too_old)


def test_constraints_are_plain_pins() -> None:
    """No index, no address, no option could come in with them."""
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r'(#.*|[a-z0-9-]+==[0-9a-z.]+( ; python_version (<|>=) "3\.\d+")?|)', line), line
