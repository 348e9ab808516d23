"""Installed packages that extend this one: those that declare the entry point `tenet.plugins`.

    [project.entry-points."tenet.plugins"]
    mypackage = "mypackage"

`_target_` may then name classes of the package, and its folder `conf/` adds options to the groups. Installing a package is
the act of trust: a configuration, or a file in the working directory, adds nothing. Only `locate` imports a plugin's code.
"""

import functools
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from tenet.errors import ConfigError

GROUP = "tenet.plugins"


class Plugin(NamedTuple):
    """package: what is imported. folder: where it lies. distribution, version: what pip calls it."""

    package: str
    folder: Path
    distribution: str
    version: str

    @property
    def conf(self) -> Path:
        return self.folder / "conf"


@functools.cache
def installed_plugins() -> tuple[Plugin, ...]:
    """Raises ConfigError for a plugin that can't be found or has no options."""
    first: dict[str, Plugin] = {}
    for plugin in _declared():
        first.setdefault(plugin.package, plugin)
    return tuple(first.values())


def _declared() -> Iterator[Plugin]:
    # Python may search the working directory, and a folder in it can claim to be an installed package.
    places = [place for place in sys.path if place and Path(place) != Path.cwd()]
    for found in metadata.distributions(path=places):
        # `metadata.entry_points` would parse the files of all packages, which takes ten times as long.
        if f"[{GROUP}]" not in (found.read_text("entry_points.txt") or ""):
            continue
        for declared in found.entry_points.select(group=GROUP):
            distribution, version = found.metadata["Name"], found.version
            name = f"the plugin {declared.value} (of {distribution} {version})"
            plugin = Plugin(declared.value, _find_package(declared.value, name), distribution, version)
            if not plugin.conf.is_dir():
                raise ConfigError(
                    f"{name} has no folder {plugin.conf}; add its options there, and list them as package data"
                )
            yield plugin


def _find_package(package: str, name: str) -> Path:
    """The folder of a package, which is not imported. Raises ConfigError, which calls it `name`."""
    top, *parts = package.split(".")
    spec = importlib.util.find_spec(top) if package.replace(".", "").isidentifier() else None
    if spec is not None and spec.origin is None:
        hiding = ", ".join(spec.submodule_search_locations or ())
        raise ConfigError(f"{name} has no __init__.py, or is hidden by a folder of the same name: {hiding}")
    folder = Path(spec.origin).parent.joinpath(*parts) if spec and spec.origin else None
    if folder is None or not (folder / "__init__.py").is_file():
        raise ConfigError(
            f"{name} is not a package that Python finds; install it again, or remove it with pip"
        )
    return folder


def plugin_of(module: str) -> Plugin | None:
    """The plugin that a module belongs to."""
    return next((plugin for plugin in installed_plugins() if is_within(module, plugin.package)), None)


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@functools.cache
def config_folders(own: Path) -> tuple[Path, ...]:
    """The folder `own` and those of the plugins. Raises ConfigError if two of them have the same option."""
    folders = {"tenet": own, **{plugin.package: plugin.conf for plugin in installed_plugins()}}
    owners: dict[str, str] = {}
    for owner, folder in folders.items() if len(folders) > 1 else ():
        for file in sorted(folder.rglob("*.yaml")):
            first = owners.setdefault(str(file.relative_to(folder)), owner)
            if first != owner:
                raise ConfigError(
                    f"the plugin {owner} has an option that {first} has too; give it another name: {file}"
                )
    return tuple(folders.values())


def used_plugins(config: Mapping[str, Any]) -> dict[str, str]:
    """Version by distribution of the plugins whose classes a configuration names."""
    targets = [str(group.get("_target_")) for group in config.values() if isinstance(group, Mapping)]
    found = [plugin for target in targets if (plugin := plugin_of(target.rpartition(".")[0]))]
    return {plugin.distribution: plugin.version for plugin in found}
