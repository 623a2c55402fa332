"""`best_tools`: the tools that fit a request best, by words, and by meaning where it is told how.

The two scores are each brought to 0..1 and added up (Bruch, Gai and Ingber, "An Analysis of Fusion
Functions for Hybrid Retrieval", 2023): a mixture of ranks would not see that of many tools with a
word in common one has a rare one. Knows tools and vectors; must not know who embeds.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from operator import mul
from typing import TypeAlias

from agentkit.backend import ToolSpec
from agentkit.errors import DefinitionError
from agentkit.policies.caching import Cache
from agentkit.running.threads import in_thread
from agentkit.selecting.selection import Choose, Selection
from agentkit.selecting.words import Words

Vectors: TypeAlias = Sequence[Sequence[float]]
Embed: TypeAlias = Callable[[Sequence[str]], Vectors | Awaitable[Vectors]]
"""Texts -> a vector each. A plain function runs in a thread."""

_log = logging.getLogger("agentkit")


def best_tools(
    most: int = 8, *, always: Sequence[str] = (), embed: Embed | None = None
) -> Selection:
    """Show a model the `most` tools that fit its request best: `Agent(select=best_tools(8))`.

    They are ranked by the words that the request shares with their names, descriptions and
    parameters (BM25); with `embed` by what they mean too. Where fewer have anything in common with
    it, those given to the agent first fill the places. The tools are indexed once.

    Args:
        most: Tools chosen for a request.
        always: Names, or patterns of names, of those that are shown in any case, beside the others.
        embed: Texts -> vectors; called once with all tools, and once a run. Where it fails, the
            words alone decide, and a warning is logged.

    Raises:
        DefinitionError: `most` is too small, or `always` is no list.
    """
    if most < 1 or isinstance(always, str):
        raise DefinitionError(
            f"best_tools(most={most!r}, always={always!r}): give 1 tool or more, and a list of "
            "names"
        )
    return BestTools(most, tuple(always), embed)


@dataclass(frozen=True, slots=True)
class BestTools:
    """See `best_tools`."""

    most: int
    always: tuple[str, ...] = ()
    embed: Embed | None = None

    def index(self, tools: Sequence[ToolSpec]) -> Choose:
        """
        Raises:
            DefinitionError: a name that is always shown is no tool's.
        """
        names = [tool.name for tool in tools]
        for pattern in self.always:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise DefinitionError(
                    f"best_tools: always={pattern!r} fits no tool of the agent; mend the name, or "
                    "leave it out"
                )
        shown = frozenset(
            place
            for place, name in enumerate(names)
            if any(fnmatchcase(name, pattern) for pattern in self.always)
        )
        meaning = None if self.embed is None else _Meaning(self.embed, tools)
        return _Index(tuple(names), self.most, shown, Words(tools), meaning).choose


@dataclass(frozen=True, slots=True)
class _Index:
    """The tools of one agent, by their places. shown: in any case."""

    names: tuple[str, ...]
    most: int
    shown: frozenset[int]
    words: Words
    meaning: _Meaning | None

    async def choose(self, request: str) -> Collection[str]:
        scores = _scaled(self.words.scores(request))
        if self.meaning is not None:
            meant = _scaled(await self.meaning.scores(request))
            scores = [one + other for one, other in zip(scores, meant, strict=True)]
        # those of one score as they were given to the agent
        best = sorted(range(len(scores)), key=lambda place: -scores[place])
        chosen = [place for place in best if place not in self.shown]
        return [self.names[place] for place in (*self.shown, *chosen[: self.most])]


class _Meaning:
    """The tools of one agent, by what they mean."""

    def __init__(self, embed: Embed, tools: Sequence[ToolSpec]) -> None:
        self._embed = embed
        self._texts = [f"{tool.name}: {tool.description}" for tool in tools]
        self._tools: Cache[Vectors] = Cache(most=1)  # asked again by the next run where it failed

    async def scores(self, request: str) -> list[float]:
        """How near each tool is to the request; 0 of all where they can't be embedded."""
        try:
            tools = await self._tools.get("tools", self._embedded_tools)
            (asked,) = await self._embedded([request])
            return [_product(asked, tool) for tool in tools]
        except Exception:
            _log.warning("tools are chosen by their words alone: `embed` failed", exc_info=True)
            return [0.0] * len(self._texts)

    async def _embedded_tools(self) -> Vectors:
        return await self._embedded(self._texts)

    async def _embedded(self, texts: Sequence[str]) -> Vectors:
        """A vector of length 1 for each text."""
        if inspect.iscoroutinefunction(self._embed):
            found = await self._embed(texts)
        else:
            found = await in_thread(self._embed, texts)
            found = await found if inspect.isawaitable(found) else found
        if len(found) != len(texts):
            raise ValueError(f"{len(texts)} texts were embedded as {len(found)} vectors")
        return [_unit(vector) for vector in found]


def _scaled(scores: Sequence[float]) -> list[float]:
    """Scores from 0 to 1; all 0 where none is better than another."""
    least, most = min(scores, default=0.0), max(scores, default=0.0)
    return [(score - least) / (most - least or 1.0) for score in scores]


def _unit(vector: Sequence[float]) -> list[float]:
    values = [float(value) for value in vector]
    length = math.hypot(*values)
    if not 0 < length < math.inf:
        raise ValueError(f"a vector has the length {length!r}")
    return [value / length for value in values]


def _product(one: Sequence[float], other: Sequence[float]) -> float:
    if len(one) != len(other):
        raise ValueError(f"vectors have {len(one)} and {len(other)} dimensions")
    return math.fsum(map(mul, one, other))
