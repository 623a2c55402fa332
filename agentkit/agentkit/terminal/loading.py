"""Finds the agent that a command names: `FILE.py:agent`, `package.module:agent`.

Knows files, modules and what an import can do wrong. Must not know what an agent does.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from agentkit.agent import Agent
from agentkit.errors import DefinitionError
from agentkit.terminal.failures import told

FORM = "FILE.py:NAME or MODULE:NAME"


@dataclass(frozen=True, slots=True)
class Reference:
    """What stands for an agent on a command line. `name` is empty where none is given."""

    text: str
    place: str
    name: str

    @property
    def is_file(self) -> bool:
        """Whether a file is meant, and not a module that is installed or lies here."""
        return self.place.endswith(".py") or "/" in self.place or "\\" in self.place


def load_agent(reference: str) -> Agent[Any, Any]:
    """The agent that `reference` names; without a name, the only one there is.

    A file is imported as Python would run it, with its folder on `sys.path`; one that belongs to a
    package is imported as a part of that package.

    Raises:
        DefinitionError: there is no such file, module or name, or importing it failed.
    """
    asked = _parsed(reference)
    module = _module(asked)
    agents: dict[str, Agent[Any, Any]] = {
        name: one for name, one in vars(module).items() if isinstance(one, Agent)
    }
    if asked.name in agents:
        return agents[asked.name]
    listed = ", ".join(map(repr, agents)) or "none"
    if not asked.name and len(agents) == 1:
        return next(iter(agents.values()))
    if not asked.name:
        raise DefinitionError(
            f"{asked.place!r} has several agents or none; say which, as {asked.place}:NAME; "
            f"its agents: {listed}"
        )
    if (found := getattr(module, asked.name, None)) is not None:
        raise DefinitionError(
            f"{asked.name!r} of {asked.place!r} is no agent but of type {type(found).__name__!r}; "
            f"its agents: {listed}"
        )
    raise DefinitionError(f"{asked.place!r} has no agent {asked.name!r}; its agents: {listed}")


def load_deps(reference: str, name: str) -> Any:
    """What is called `name` beside an agent; where that can be called, what it then gives.

    Raises:
        DefinitionError: there is no such name, or calling it failed.
    """
    asked = _parsed(reference)
    module = _module(asked)
    if not hasattr(module, name):
        raise DefinitionError(
            f"{asked.place!r} has no {name!r} to give to the runs; name a value there, or a "
            "function of no arguments"
        )
    found = getattr(module, name)
    if not callable(found):
        return found
    try:
        return found()
    except Exception as error:
        raise DefinitionError(f"{name!r} of {asked.place!r} failed: {told(error)}") from error


def _parsed(text: str) -> Reference:
    place, colon, name = text.rpartition(":")
    if not colon or name.startswith(("/", "\\")):  # no name, or a colon after a drive's letter
        place, name = text, ""
    if not place or (name and not name.isidentifier()):
        raise DefinitionError(f"{text!r} names no agent; write {FORM}")
    return Reference(text, place, name)


def _module(asked: Reference) -> ModuleType:
    return _from_file(asked) if asked.is_file else _from_path(asked)


def _from_path(asked: Reference) -> ModuleType:
    _search("")  # a command finds what lies here, as `python -m` does
    try:
        return importlib.import_module(asked.place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{asked.place}.".startswith(f"{error.name}."):
            raise _failed(asked, error) from error  # it is there, and misses something itself
        raise DefinitionError(
            f"there is no module {asked.place!r}, neither here nor installed; write {FORM}"
        ) from error
    except (Exception, SystemExit) as error:
        raise _failed(asked, error) from error


def _from_file(asked: Reference) -> ModuleType:
    path = Path(asked.place)
    if not path.is_file():
        raise DefinitionError(f"there is no file {asked.place!r}; write {FORM}")
    path = path.resolve()
    folder, name = path.parent, path.stem
    while (folder / "__init__.py").is_file():
        folder, name = folder.parent, f"{folder.name}.{name}"
    _search(str(folder))
    try:
        if "." in name:
            return importlib.import_module(name)
        return _executed(path, name)
    except (Exception, SystemExit) as error:
        raise _failed(asked, error) from error


def _executed(path: Path, name: str) -> ModuleType:
    """The module of a file by itself; its name may be that of another module."""
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    if known is not None:
        name = str(path)  # no name that can be imported is like it
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name!r} is no Python file; its name ends with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _search(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _failed(asked: Reference, error: BaseException) -> DefinitionError:
    return DefinitionError(f"importing {asked.place!r} failed: {told(error)}")
