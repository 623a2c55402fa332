"""Tools as a domain describes them: names, arguments, ways of asking, results; what is held out.

Knows kinds of values. Must not know how a domain is written down, nor declarations or requests.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from agentkit_engine.training.corpus.kinds import Kind

_HELD_SHARE = 14  # one noun in so many names no tool of training, and one verb
# verbs that every domain uses: to hold one out would hold out half the corpus
_COMMON_VERBS = frozenset(
    (
        "add", "calculate", "change", "check", "compute", "convert", "count", "create", "delete",
        "edit", "fetch", "find", "get", "list", "look", "make", "move", "open", "read", "remove",
        "search", "send", "set", "show", "start", "stop", "turn", "update",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of a tool, or a member of an object.

    Attributes:
        names: what it may be called, in words; frames know it by the first.
        kind: of its values; None for an object.
        members: of an object.
    """

    names: tuple[str, ...]
    required: bool
    kind: Kind | None
    descriptions: tuple[str, ...]
    members: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """A part of a frame: literal texts and, at odd places, handles."""

    optional: bool
    parts: tuple[str, ...]

    @property
    def handles(self) -> tuple[str, ...]:
        return self.parts[1::2]


@dataclass(frozen=True, slots=True)
class Frame:
    """One way of asking for a tool."""

    groups: tuple[Group, ...]

    @property
    def handles(self) -> tuple[str, ...]:
        """Those of every group."""
        return tuple(handle for group in self.groups for handle in group.handles)


@dataclass(frozen=True, slots=True)
class Result:
    """A field of what a tool returns: of a kind, or the echo of an argument."""

    name: str
    kind: Kind | None
    echo: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as its domain describes it; `corpus.tasks` makes declarations and calls of it.

    Attributes:
        domain: the domain's name.
        place: its number in the domain; near ones are often near duplicates.
        names: synonyms, in words.
    """

    domain: str
    place: int
    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    arguments: tuple[Argument, ...]
    frames: tuple[Frame, ...]
    results: tuple[Result, ...]

    @property
    def held(self) -> bool:
        """Whether training never sees it: its noun, or its verb, is a held-out one."""
        return held_name(self.names[0])

    @property
    def words(self) -> frozenset[str]:
        """The words of its names but for their verbs."""
        return frozenset(word for name in self.names for word in name.split()[1:])

    def argument(self, handle: str) -> Argument:
        """The argument, or the member ("parent.member"), that frames call `handle`."""
        first, _, rest = handle.partition(".")
        found = next(a for a in self.arguments if a.names[0] == first)
        return next(m for m in found.members if m.names[0] == rest) if rest else found


def held_name(name: str) -> bool:
    """Whether a name's noun (its last word), or its verb if that is a rare one, is held out."""
    verb, noun = name.split()[0], name.split()[-1]
    return held_word(noun) or (verb not in _COMMON_VERBS and held_word(verb))


def held_word(word: str) -> bool:
    """A share of all words, the same on every machine."""
    return hashlib.blake2b(word.encode(), digest_size=4).digest()[0] % _HELD_SHARE == 0
