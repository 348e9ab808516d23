"""Paths in user input."""

from os import PathLike
from pathlib import Path

from tenet.errors import ConfigError


def user_path(text: str | PathLike[str], *, key: str) -> Path:
    """Expand `~` and `~user` to the home folder.

    key: the configuration key of the path, for the error message. Raises ConfigError if the home folder is unknown.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{key}={text}: there is no such home folder; write the path out, or ./~..."
        ) from error
