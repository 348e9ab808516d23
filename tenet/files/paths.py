"""Paths as users write them."""

from os import PathLike
from pathlib import Path

from tenet.errors import ConfigError


def user_path(text: str | PathLike[str], *, key: str) -> Path:
    """With `~` and `~user` replaced by that home folder.

    key: what the path was given as, for the message. Raises ConfigError where there is no such home.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{key}={text}: there is no such home folder; write the path out, or ./~..."
        ) from error
