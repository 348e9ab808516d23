"""Errors that the user can fix. The message names the problem and the remedy; no traceback is needed."""


def printable(text: str) -> str:
    """Replace every non-printable character by `?`, so that the text stays on one line and can't control a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def printable_lines(text: str) -> str:
    """As `printable`, but the ends of lines and tabs stay."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character in "\n\t" else "?" for character in text)


def counted(number: int, noun: str) -> str:
    """Such as `1 job` or `3 jobs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class UserError(ValueError):
    """Base of the errors that the entry points print as one line."""


class ConfigError(UserError):
    """A configuration key is misspelt, of the wrong kind or out of range."""


class DatasetError(UserError):
    """A file of a data set is missing or invalid."""


class CheckpointError(UserError):
    """A checkpoint or a weights file is missing, is unreadable or does not fit the model."""


class StorageError(UserError, OSError):
    """A file can't be written, for example because the disk is full or read-only."""


class NonFiniteOutputError(UserError):
    """The model's outputs contain NaN or infinity, so there is no figure to report."""


class NonFiniteLossError(UserError):
    """The loss became NaN or infinite; training can't continue."""
