"""Small files of plain values that may come from anyone: bounded before they are read, and nothing in them runs."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

# What no configuration reaches.
MAX_YAML_BYTES = 2**20
MAX_DEPTH = 20
BLOCK_BYTES = 2**20


def check_plain(path: Path, *, or_folder: bool = False) -> None:
    """Raises OSError for what is neither a file nor missing: a pipe would be waited for, a device never ends."""
    if path.exists() and not path.is_file() and not (or_folder and path.is_dir()):
        raise OSError(f"{path} is not a plain file")


def read_bytes(path: Path, *, limit_bytes: int) -> bytes:
    """Raises OSError where there is no plain file, ValueError where it is larger."""
    check_plain(path)
    with path.open("rb") as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise ValueError(f"it is larger than {limit_bytes:,} bytes")
    return content


def sha256_of(path: Path) -> str:
    """Of a file of any length, a block at a time. Raises OSError where there is no plain file."""
    check_plain(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def read_yaml(path: Path) -> Any:
    """Plain values: no tag makes an object. Raises OSError, and ValueError saying in one line what is wrong.

    Aliases are refused, since a few lines of them stand for any amount of values, and so is deep nesting.
    """
    content = read_bytes(path, limit_bytes=MAX_YAML_BYTES)
    # libyaml's parser, where PyYAML was built with it, is ten times as fast.
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
    except Exception as error:  # odd values trip PyYAML in many ways: KeyError, AttributeError, ...
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def _check_plain(value: Any) -> None:
    """Raises ValueError for dates, sets and bytes, for keys that are no text, and for numbers beyond 64 bits."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("it has keys that are no text")
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            _check_plain(part)
    elif isinstance(value, int) and value.bit_length() > 64:
        raise ValueError("it holds a number of more than 64 bits")
    elif value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"it holds a {type(value).__name__}, which no setting is")
