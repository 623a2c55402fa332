"""Checks domain files for whoever writes them, and counts what is in them.

Must not know conversations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from random import Random

from agentkit_engine.training.corpus.described import Tool
from agentkit_engine.training.corpus.domains import tools
from agentkit_engine.training.corpus.reader import read
from agentkit_engine.training.corpus.tasks import Maker

_SHOWN = 10


def report(path: Path, random: Random) -> Iterator[str]:
    """How much a domain file has, and some requests with their calls.

    Raises:
        CorpusError: everything that is wrong with it, a line each.
    """
    found = read(path.read_text("utf-8"), where=str(path))
    yield f"{path}: {_counted(found)}"
    for tool in random.sample(found, min(_SHOWN, len(found))):
        task = Maker(random).task(tool)
        yield f"  {task.request}"
        yield f"      {task.name}{task.arguments}"


def totals() -> Iterator[str]:
    """How much each domain of the package has, and all of them."""
    for domain, found in groupby(tools(), lambda tool: tool.domain):
        yield f"{domain}: {_counted(list(found))}"
    names = {name for tool in tools() for name in tool.names}
    nouns = {name.split()[-1] for name in names}
    yield f"all: {_counted(tools())}, {len(names):,} names, {len(nouns):,} nouns"


def _counted(found: Sequence[Tool]) -> str:
    frames, held = sum(len(tool.frames) for tool in found), sum(tool.held for tool in found)
    return f"{len(found):,} tools ({held} held out), {frames:,} frames"
