"""Scenes: tools that are declared together, and conversations that each begin there.

The conversations of a scene share their first tokens, so a training step reads those once. Knows
which tools may stand side by side: no request may suit two of them. Must not know tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from random import Random
from typing import Any

from agentkit_engine.training.corpus import shipped
from agentkit_engine.training.corpus.conversations import FLOWS, SHARES, Conversation, Stage
from agentkit_engine.training.corpus.declaring import Declared
from agentkit_engine.training.corpus.described import Tool
from agentkit_engine.training.corpus.domains import tools
from agentkit_engine.training.corpus.inventing import invented
from agentkit_engine.training.corpus.tasks import Maker, Task
from agentkit_engine.training.corpus.wording import style

_INSTRUCTIONS = (
    "You are a helpful assistant.", "Be brief.", "Use the tools.", "You help with daily tasks.",
    "You are a careful agent.", "Answer briefly and use tools when they help.",
    "You are an expert in composing functions.", "Call the functions that serve the request.",
    "You are given a question and a set of possible functions. Call one if it helps.",
    "Help the user. If no tool fits, say so.", "You are a copilot inside an application.",
    "Today is Monday.", "You work for a small company.", "Always use a tool where there is one.",
    "Do what you are asked, no more.", "You are the assistant of a busy person.",
)  # fmt: skip
_NEAR = 6  # so far apart in a domain's file, tools are often near duplicates
_TRIES = 40
_BARE = "extraction"
_CHAINED = 0.3  # share of scenes in which one tool takes what another gives, if there is any


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the corpus; the defaults are what training sees.

    Attributes:
        held: calls go to tools whose nouns or verbs training never sees, with values it never sees.
        fresh: requests are worded by frames that training never sees.
        shipped: share of scenes with the tools that come with the distribution.
        invented: share of scenes whose tools are made up on the spot.
        bare: share of scenes that declare no tools: only schemas are filled there, if `shares`
            knows such conversations.
        opaque: share of those and of the domains' scenes in which tools' names mean nothing.
        least_tools, most_tools: how many tools are declared where any are.
        branches: conversations a scene.
        shares: how often a conversation goes how (`conversations.FLOWS`).
    """

    held: bool = False
    fresh: bool = False
    shipped: float = 0.08
    invented: float = 0.2
    bare: float = 0.08
    opaque: float = 0.0
    least_tools: int = 1
    most_tools: int = 12
    branches: int = 4
    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)


def corpus(seed: int | str, part: Part | None = None) -> Iterator[list[Conversation]]:
    """Scenes without end; the same seed gives the same ones."""
    random, part = Random(seed), part or Part()
    while True:
        yield scene(random, part)


def scene(random: Random, part: Part) -> list[Conversation]:
    """Conversations that share declared tools and instructions."""
    maker = Maker(random, held=part.held, fresh=part.fresh)
    draw, shares = random.random(), part.shares
    if draw < part.shipped:
        stage, declared = _shipped_stage(random, maker, part)
    elif draw >= 1 - part.bare and _BARE in shares:
        stage, declared, shares = _bare_stage(random, maker, part), [], {_BARE: 1.0}
    else:
        made_up = draw < part.shipped + part.invented
        stage, declared = _stage(random, maker, part, made_up=made_up)
    listed = [one.declaration for one in declared]
    system = random.choice(_INSTRUCTIONS) if random.random() < 0.4 else ""
    found: list[Conversation] = []
    for kind in random.choices(list(shares), list(shares.values()), k=part.branches):
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        one = Conversation(listed, messages, kind)
        FLOWS[kind](stage, one)
        found.append(one)
    return found


def _stage(
    random: Random, maker: Maker, part: Part, *, made_up: bool
) -> tuple[Stage, list[Declared]]:
    # few tools are commoner than many
    count = min(random.randint(part.least_tools, part.most_tools) for _ in range(3))
    targets, others = _cast(random, part, count, made_up=made_up)
    spelled = style(random)
    opaque = part.opaque > 0 and random.random() < part.opaque
    chosen: dict[str, Declared] = {}
    for tool in (*targets, *others):
        alike = spelled if random.random() < 0.8 else None
        one = maker.declare(tool, spelled=alike, opaque=opaque)
        chosen.setdefault(one.name, one)
    declared = list(chosen.values())
    able = [one for one in declared if one.tool in targets]
    random.shuffle(declared)

    def ask(wanted: Declared | None) -> Task:
        return maker.request(wanted or random.choice(able))

    foreign = partial(_foreign, random, part, [one.tool for one in declared])
    return Stage(random, maker, able, ask, foreign), declared


def _cast(
    random: Random, part: Part, count: int, *, made_up: bool
) -> tuple[list[Tool], list[Tool]]:
    """Tools that may be called, and tools that only stand beside them."""
    if made_up:
        targets = [invented(random, held=part.held)]
        while len(targets) < count:
            other = invented(random, held=part.held)
            alike = random.random() < 0.4
            if all(_distinct(other, one, near=alike) for one in targets):
                targets.append(other)
        return targets, []
    first = random.choice(_usable(held=part.held))
    targets, others = [first], list[Tool]()
    if count > 1 and random.random() < _CHAINED:
        targets += _partner(random, first)
    siblings = [t for t in tools() if t.domain == first.domain and t is not first]
    near = [t for t in siblings if abs(t.place - first.place) <= _NEAR]
    pools = (near, siblings, tools())
    while len(targets) + len(others) < count:
        (pool,) = random.choices(pools, (4, 4, 3))
        tool = random.choice(pool or siblings or tools())
        if tool.held and not part.held:  # training does not even see one beside others
            continue
        if all(_compatible(tool, one) for one in (*targets, *others)):
            (targets if tool.held == part.held else others).append(tool)
    return targets, others


def _partner(random: Random, first: Tool) -> list[Tool]:
    """A tool that may be given what the first one returns, if there is one to stand beside it."""
    given = [result.kind for result in first.results if result.kind is not None]
    pool = _usable(held=first.held)
    for tool in random.sample(pool, len(pool)):
        takes = any(a.required and any(a.kind is kind for kind in given) for a in tool.arguments)
        if takes and _compatible(tool, first):
            return [tool]
    return []


@cache
def _usable(*, held: bool) -> Sequence[Tool]:
    return [tool for tool in tools() if tool.held == held]


def _compatible(tool: Tool, other: Tool) -> bool:
    """Whether no request suits both: so it is within a domain, elsewhere nouns must differ."""
    if tool is other:
        return False
    return tool.domain == other.domain or not tool.words & other.words


def _distinct(tool: Tool, other: Tool, *, near: bool) -> bool:
    """Whether invented tools differ: in noun and verb, or (near duplicates) in one of them."""
    same = [a == b for a, b in zip(_ends(tool), _ends(other), strict=True)]
    return not all(same) if near else not any(same)


def _ends(tool: Tool) -> tuple[str, str]:
    verb, *_, noun = tool.names[0].split()
    return verb, noun


def _foreign(random: Random, part: Part, declared: Sequence[Tool]) -> Tool:
    """A tool that is not declared; of the same domain, or of another and with other nouns."""
    domains = {tool.domain for tool in declared}
    pool = _usable(held=part.held)
    siblings = [tool for tool in pool if tool.domain in domains]
    for _ in range(_TRIES):
        tool = random.choice(siblings if siblings and random.random() < 0.35 else pool)
        if all(_compatible(tool, other) for other in declared):
            return tool
    return invented(random, held=part.held)


def _shipped_stage(random: Random, maker: Maker, part: Part) -> tuple[Stage, list[Declared]]:
    """Toolsets of the distribution, each of them whole, in the order that they come in or not."""
    groups = [group for group in shipped.TOOLSETS if random.random() < 0.6]
    declared = [one for group in groups or [random.choice(shipped.TOOLSETS)] for one in group]
    if random.random() < 0.5:
        random.shuffle(declared)

    def ask(wanted: Declared | None) -> Task:
        return shipped.task(random, wanted or random.choice(declared), held=part.held)

    foreign = partial(_foreign, random, part, [one.tool for one in declared])
    return Stage(random, maker, declared, ask, foreign), declared


def _bare_stage(random: Random, maker: Maker, part: Part) -> Stage:
    """No tools, so that every tool is a foreign one."""
    foreign = partial(_foreign, random, part, [])

    def ask(wanted: Declared | None) -> Task:
        return maker.request(wanted) if wanted else maker.task(foreign())

    return Stage(random, maker, [], ask, foreign)
