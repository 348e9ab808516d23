"""Paths in user input."""

import os
from os import PathLike
from pathlib import Path

from tenet.errors import ConfigError


def user_path(text: str | PathLike[str], *, key: str) -> Path:
    """Expand `~` and `~user` to the home folder; `./~` is a file of that name.

    key: the configuration key of the path, for the error message. Raises ConfigError if the home folder is unknown.
    """
    # Not Path.expanduser: a Path drops the "./" of "./~".
    expanded = os.path.expanduser(text)  # noqa: PTH111
    if os.fspath(text).startswith("~") and expanded == os.fspath(text):
        raise ConfigError(f"{key}={text}: there is no such home folder; write the path out, or ./~...")
    return Path(expanded)


def shown(path: Path, *, start: Path | None = None) -> Path:
    """The path relative to the working directory (or `start`) if it lies inside, as messages and commands show it."""
    absolute, start = path.absolute(), start or Path.cwd()
    return absolute.relative_to(start) if absolute.is_relative_to(start) and absolute != start else path
