"""Where settings come from: the code, the environment, `agentkit.toml`; laid over each other.

Remembers of each value who gave it. Knows these sources and the names of settings; must not know
what values are valid, or what a setting is for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

from pydantic import BaseModel

from agentkit.errors import PluginError

FILE = "agentkit.toml"
CODE = "code"
_ROOT = 0  # who has no need to trick anybody


@dataclass(frozen=True, slots=True)
class Given:
    """A value that a source has for a setting, or for a part of one."""

    value: Any
    origin: str


Tree: TypeAlias = dict[str, "Given | Tree"]
"""Settings by name; one that is made of parts is a tree itself, with parts of several origins."""


def gather(plugin: str, config: type[BaseModel], given: Mapping[str, Any]) -> Tree:
    """What all sources say of a plugin's settings, the stronger over the weaker.

    The order: what the code gives, the environment, the nearest file of the working folder and
    those above it, the file in the user's configuration folder.

    Raises:
        PluginError: a file can't be read; names it.
    """
    from agentkit.defining.environment import read_environment  # slow to import

    tree: Tree = {}
    for path, table in _tables(plugin):
        _overlay(tree, table, f"{path} [tools.{plugin}]")
    found = read_environment(config, variable(plugin))
    _overlay(tree, found, partial(_variable_set, plugin))
    _overlay(tree, given, CODE)
    return tree


def variable(plugin: str, *path: str) -> str:
    """The environment variable of a setting, or of a part of one; without, what all begin with."""
    return f"AGENTKIT_{plugin.replace('-', '_').upper()}_{'__'.join(path).upper()}"


def plain(tree: Tree) -> dict[str, Any]:
    """The values alone."""
    return {
        name: plain(node) if isinstance(node, dict) else node.value for name, node in tree.items()
    }


def origin_at(tree: Tree, path: Sequence[str]) -> str:
    """Who gave the value at a place, or what holds it; empty where nobody did."""
    node: Given | Tree = tree
    for part in path:
        if isinstance(node, Given):
            return node.origin
        if part not in node:
            return ""
        node = node[part]
    return ", ".join(dict.fromkeys(_origins(node)))


def _origins(node: Given | Tree) -> Iterator[str]:
    if isinstance(node, Given):
        yield node.origin
    else:
        for inner in node.values():
            yield from _origins(inner)


def _overlay(
    below: Tree,
    above: Mapping[str, Any],
    origin: str | Callable[[Sequence[str]], str],
    path: tuple[str, ...] = (),
) -> None:
    for key, value in above.items():
        here = (*path, key)
        if isinstance(value, Mapping) and value:
            inner = below.get(key)
            if not isinstance(inner, dict):
                inner = below[key] = {}
            _overlay(inner, cast("Mapping[str, Any]", value), origin, here)
        else:
            below[key] = Given(value, origin if isinstance(origin, str) else origin(here))


def _variable_set(plugin: str, path: Sequence[str]) -> str:
    """The variable that a value comes from: of the part itself, or of what holds it as JSON."""
    there = {name.upper() for name in os.environ}
    held = (variable(plugin, *path[:length]) for length in range(len(path), 0, -1))
    return next((name for name in held if name in there), variable(plugin, *path))


def _tables(plugin: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """A plugin's tables in the files there are, the weakest first."""
    import tomllib  # not for those who configure nothing

    for path in _files():
        try:
            tools: object = tomllib.loads(path.read_text("utf-8")).get("tools", {})
        except OSError as error:
            raise PluginError(f"{str(path)!r} can't be read: {error.strerror}") from error
        except ValueError as error:
            raise PluginError(f"{str(path)!r} is no TOML: {error}; mend it there") from error
        table: object = tools
        if isinstance(tools, dict):
            table = cast("dict[str, object]", tools).get(plugin, {})
        if not isinstance(table, dict):
            raise PluginError(f"[tools.{plugin}] of {str(path)!r} is no table; write it as one")
        yield path, cast("dict[str, Any]", table)


def _files() -> list[Path]:
    from platformdirs import user_config_path

    files = [user_config_path("agentkit", appauthor=False) / FILE]
    here = Path.cwd()
    for folder in (here, *here.parents):
        path = folder / FILE
        # What others put into a folder above, such as that for temporary files, is not for us.
        if path.is_file() and (folder == here or _is_ours(path)):
            files.append(path)
            break
    return [path for path in dict.fromkeys(files) if path.is_file()]


def _is_ours(path: Path) -> bool:
    if not hasattr(os, "getuid"):
        return True
    # of a link, whoever made it as well: it may lead to a file of ours that is none of this kind
    owners = {path.lstat().st_uid, path.stat().st_uid}
    return owners <= {_ROOT, os.getuid()}
