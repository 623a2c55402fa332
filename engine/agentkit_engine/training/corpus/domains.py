"""The domain files of the package, read: all tools that people have written down.

Must not know how a file is read, nor how a conversation comes about.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from agentkit_engine.training.corpus.described import Tool
from agentkit_engine.training.corpus.lexicon import lexicon
from agentkit_engine.training.corpus.reader import read

_NO_VERBS = frozenset(
    ("is", "nearest", "new", "next", "on", "top", "what", "when", "where", "which", "who")
)


@cache
def tools() -> tuple[Tool, ...]:
    """The tools of every domain file of the package."""
    folder = files("agentkit_engine.training.corpus").joinpath("data", "domains")
    found: list[Tool] = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.endswith(".txt"):
            found += read(path.read_text("utf-8"), where=path.name)
    return tuple(found)


@cache
def imperatives() -> frozenset[str]:
    """Verbs that begin a request: those of the tools' names, and those of errands."""
    named = {name.split()[0] for tool in tools() for name in tool.names}
    return (frozenset(named) | set(lexicon("verbs").seen) | set(lexicon("verbs").held)) - _NO_VERBS
