"""The package of docs/extending.md: its files are the blocks of that page."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "extending.md"


def package_files() -> dict[str, str]:
    """Text by path: each block that a line with its path stands before."""
    blocks = re.findall(r"^`([\w./]+)`\n```\w+\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return dict(blocks)


def write_package(folder: Path) -> Path:
    """Write the package as its author would have it; return the folder of its pyproject.toml."""
    for name, text in {**package_files(), "myproject/mypackage/__init__.py": ""}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "myproject"


def install(source: Path, target: Path) -> None:
    """Install it with pip into a folder of its own."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def declare(
    target: Path, *, package: str = "mypackage", value: str | None = None, version: str = "0.1"
) -> None:
    """Write what pip writes about an installed plugin: its metadata and its entry point."""
    folder = target / f"{package}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (folder / "entry_points.txt").write_text(f"[tenet.plugins]\n{package} = {value or package}\n")


def environment(installed: Path) -> dict[str, str]:
    """Of a process that finds the packages in `installed`."""
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{installed}", "OMP_NUM_THREADS": "1"}
