"""Errors that the user can mend: the message says what is wrong and what to do, and needs no traceback."""


def printable(text: str) -> str:
    """Without control characters, which could do things to a terminal, and in one line."""
    return "".join(character if character.isprintable() else "?" for character in text)


class UserError(ValueError):
    """Base of the errors that the entry points print as one line."""


class ConfigError(UserError):
    """A configuration key is misspelt, of the wrong kind or out of range."""


class DatasetError(UserError):
    """A data set's file is missing, or not what it should be."""


class CheckpointError(UserError):
    """A file of weights or a checkpoint is missing, unreadable or does not fit the model."""


class StorageError(UserError, OSError):
    """A file can't be written: the disk is full, say, or for reading alone."""


class NonFiniteOutputError(UserError):
    """A model's outputs are NaN or infinite: there is no figure to report."""


class NonFiniteLossError(UserError):
    """The loss became NaN or infinite; training can't go on from here."""
