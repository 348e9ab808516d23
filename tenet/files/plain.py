"""Safe reading of small untrusted files: their size is limited before they are read, and no code in them runs."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

# Far more than any configuration needs.
MAX_YAML_BYTES = 2**20
MAX_DEPTH = 20
BLOCK_BYTES = 2**20


def check_plain(path: Path, *, or_folder: bool = False) -> None:
    """Raise OSError if the path exists and is not a file: reading a pipe would block, and a device may never end."""
    if path.exists() and not path.is_file() and not (or_folder and path.is_dir()):
        raise OSError(f"{path} is not a plain file")


def links_out(folder: Path) -> Iterator[Path]:
    """Links through which writing into the folder would write elsewhere. W&B's own files are not searched."""
    inside = folder.resolve()
    for place, names, files in os.walk(inside):
        for path in (Path(place, name) for name in (*names, *files)):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                yield folder / path.relative_to(inside)
        names[:] = [name for name in names if name != "wandb"]


def check_own(*paths: Path) -> None:
    """Raise OSError if a file or folder to write is a link, or a folder with a link that leads out of it."""
    for path in paths:
        check_plain(path, or_folder=True)
        link = path if path.is_symlink() else next(links_out(path), None)
        if link is not None:
            raise OSError(f"{link} is a link, and nothing is written through it; remove it")


def read_bytes(path: Path, *, limit_bytes: int) -> bytes:
    """Read a whole file. Raises OSError if it is not a plain file, ValueError if it exceeds `limit_bytes`."""
    check_plain(path)
    with path.open("rb") as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise ValueError(f"it is larger than {limit_bytes:,} bytes")
    return content


def sha256_of(path: Path) -> str:
    """Return the hex digest of a file, reading one block at a time. Raises OSError if it is not a plain file."""
    check_plain(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def read_yaml(path: Path) -> Any:
    """Read plain values from a YAML file. Tags cannot construct objects.

    Aliases are refused because a few lines of them can expand to any number of values. Deep nesting is refused too.
    Raises OSError if the file can't be read, and ValueError with a one-line reason if its content is not accepted.
    """
    content = read_bytes(path, limit_bytes=MAX_YAML_BYTES)
    # If PyYAML was built with libyaml, its parser is ten times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        depth = 0
        for event in yaml.parse(content, loader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it has an alias; write the values out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
        loaded = yaml.load(content, loader)
        _check_plain(loaded)
        return loaded
    except Exception as error:  # PyYAML fails on malformed values with KeyError, AttributeError and others
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def _check_plain(value: Any) -> None:
    """Raise ValueError for dates, sets, bytes, keys that are not strings, and integers of more than 64 bits."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("it has keys that are not strings")
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            _check_plain(part)
    elif isinstance(value, int) and value.bit_length() > 64:
        raise ValueError("it holds a number of more than 64 bits")
    elif value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"it holds a value of type {type(value).__name__}, which no key accepts")
