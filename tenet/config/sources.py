"""Classes and functions as their sources define them: importing them would import torch, or a plugin's code."""

import ast
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from tenet.config.plugins import is_within
from tenet.errors import ConfigError


def find_definition(module: str, name: str) -> tuple[str, ast.ClassDef | ast.FunctionDef] | None:
    """The class or function called `name` in `module` or where `module` imports it from, and its own module."""
    for node in parse_module(module):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return module, node
        if not isinstance(node, ast.ImportFrom):
            continue
        source = _imported(node, module)
        if source != module and any(is_within(source, top) for top in ("tenet", module.partition(".")[0])):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return find_definition(source, alias.name)
    return None


def _imported(node: ast.ImportFrom, module: str) -> str:
    """The module that `from ... import` names in `module`."""
    if node.level == 0:
        return node.module or ""
    file, parts = _source_file(module), module.split(".")
    up = node.level - (file is not None and file.name == "__init__.py")
    return ".".join([*parts[: len(parts) - up], *filter(None, [node.module])])


@functools.cache
def parse_module(module: str) -> list[ast.stmt]:
    """The parsed source of a module; empty where there is none. Raises ConfigError if it is not Python."""
    file = _source_file(module)
    try:
        return [] if file is None else ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{module}: {file} can't be read as Python ({error})") from error


def _source_file(module: str) -> Path | None:
    top, *parts = module.split(".")
    spec = importlib.util.find_spec(top) if top else None
    # Identifiers only: a part such as "/tmp/x" would lead out of the package.
    if spec is None or spec.origin is None or not all(map(str.isidentifier, parts)):
        return None
    path = Path(spec.origin).parent.joinpath(*parts)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file if file.is_file() else None


def arguments_of(module: str, node: ast.ClassDef | ast.FunctionDef) -> Iterator[tuple[str, ast.expr | None]]:
    """Names and annotations of the arguments of a function, of `__init__`, or of a dataclass, base classes included."""
    body = [node] if isinstance(node, ast.FunctionDef) else node.body
    for item in body:
        if isinstance(item, ast.FunctionDef) and (item is node or item.name == "__init__"):
            for argument in [*item.args.args, *item.args.kwonlyargs]:
                if argument.arg != "self":
                    yield argument.arg, argument.annotation
            return
    for base in reversed(node.bases if isinstance(node, ast.ClassDef) else []):
        source, _, name = ast.unparse(base).rpartition(".")
        is_known = not source or is_within(source, "tenet")
        if is_known and (found := find_definition(source or module, name)):
            yield from arguments_of(*found)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        for item in body:
            if (
                isinstance(item, ast.AnnAssign)
                and isinstance(item.target, ast.Name)
                and not ast.unparse(item.annotation).startswith("ClassVar")
            ):
                yield item.target.id, item.annotation
