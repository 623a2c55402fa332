"""What can be made of toolsets: each way gives another toolset, and leaves the old one as it is.

Knows tools and what may stand around their calls; must not know agents or runs.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal, Self, TypeAlias, cast

from agentkit.defining.tool import AnyTool
from agentkit.errors import DefinitionError
from agentkit.policies.caching import Cache, canonical
from agentkit.policies.condition import Condition, Proposal
from agentkit.policies.limiting import Gate, Rate

Pick: TypeAlias = str | Callable[[AnyTool], bool]
Rename: TypeAlias = Mapping[str, str] | Callable[[str], str]


class Algebra:
    """The ways to make another toolset of one; `Toolset` has them.

    What stands around calls (`cached`, `limited`) does so in runs: calling a tool yourself calls
    its function, as ever. The last put around is the outermost: of `files.limited(...).cached()`
    a result from the cache does not count, of `files.cached().limited(...)` it does.
    """

    __slots__ = ()
    name: str
    tools: tuple[AnyTool, ...]

    def _with(self, tools: Iterable[AnyTool], name: str | None = None) -> Self:
        raise NotImplementedError

    def __add__(self, other: Self) -> Self:
        """The tools of both: `files + search`.

        Raises:
            DefinitionError: both have a tool of one name; names both toolsets.
        """
        if not isinstance(cast(object, other), Algebra):
            return NotImplemented
        theirs = {tool.name for tool in other.tools}
        for tool in self.tools:
            if tool.name in theirs:
                raise DefinitionError(
                    f"toolsets {self.name!r} and {other.name!r} both have a tool {tool.name!r}; "
                    f"tell them apart, as with `.prefixed({_prefix(other.name)!r})`, or leave one "
                    f"out: `.without({tool.name!r})`"
                )
        return self._with((*self.tools, *other.tools), f"{self.name}+{other.name}")

    def filtered(self, *picks: Pick) -> Self:
        """The tools that a pattern (`"read_*"`) or a function of the tool picks.

        Raises:
            DefinitionError: a pattern fits no tool.
        """
        picked = self._picked(picks, "filtered")
        return self._with(tool for tool in self.tools if tool.name in picked)

    def without(self, *picks: Pick) -> Self:
        """The other tools than `filtered` gives.

        Raises:
            DefinitionError: a pattern fits no tool.
        """
        picked = self._picked(picks, "without")
        return self._with(tool for tool in self.tools if tool.name not in picked)

    def renamed(self, names: Rename) -> Self:
        """The tools under other names: `{old: new}`, or a function from old to new.

        Raises:
            DefinitionError: there is no tool of an old name, a new one is no tool name, or two
                tools would have the same; names both.
        """
        new_name = names if callable(names) else self._by_table(names)
        old: dict[str, str] = {}
        for tool in self.tools:
            new = new_name(tool.name)
            if new in old:
                raise DefinitionError(
                    f"toolset {self.name!r}: tools {old[new]!r} and {tool.name!r} would both be "
                    f"named {new!r}; give them different names"
                )
            old[new] = tool.name
        pairs = zip(self.tools, old, strict=True)
        return self._with(_renamed(tool, new) for tool, new in pairs)

    def prefixed(self, prefix: str) -> Self:
        """The tools under names that begin so: `files.prefixed("fs_")`.

        Raises:
            DefinitionError: no tool name begins so.
        """
        return self.renamed(lambda name: f"{prefix}{name}")

    def needing_approval(self, *picks: Pick, when: Condition | None = None) -> Self:
        """The calls of the tools picked, of all without `picks`, wait for a human.

        Nothing of them begins before its call is sure, of a pure tool neither.

        Args:
            when: Only the calls of which this holds, `argument("amount") > 100` say. It reads the
                names that the tools have now, however they are renamed later.

        Raises:
            DefinitionError: a pattern fits no tool, or `when` is no condition.
        """
        if when is not None and not isinstance(cast(object, when), Condition):
            raise DefinitionError(
                f"needing_approval: when={when!r} is no condition; give one such as "
                "`argument('amount') > 100`, or the tools as names"
            )
        picked = self._picked(picks, "needing_approval") if picks else None
        return self._with(
            _held(tool, when) if picked is None or tool.name in picked else tool
            for tool in self.tools
        )

    def timed(self, timeout: float | None) -> Self:
        """A call may take so many seconds, waiting for its turn included; None: no limit.

        Raises:
            DefinitionError: the timeout is no number of seconds above 0.
        """
        return self._with(tool.changed(timeout=timeout) for tool in self.tools)

    def cached(self, *, ttl: float | None = None, most: int = 1024) -> Self:
        """The results of pure tools are kept, by the tool and its arguments alone.

        A tool that is not pure is left as it is, and so is one that takes the run's context: what
        it gives to one run may not be another's to see. Errors are not kept. Equal calls made at
        the same time run once.

        Args:
            ttl: Seconds that a result lasts; None: as long as there is room.
            most: Results kept, of all these tools together.

        Raises:
            DefinitionError: `ttl` or `most` is too small.
        """
        if (ttl is not None and not 0 < ttl < math.inf) or most < 1:
            raise DefinitionError(
                f"cached: ttl={ttl!r}, most={most!r} keep nothing; give seconds above 0 or None, "
                "and 1 result or more"
            )
        cache: Cache[str] = Cache(ttl=ttl, most=most)
        return self._with(
            tool.changed(around=(*tool.around, _Cached(cache, tool.name)))
            if tool.pure and tool.context is None
            else tool
            for tool in self.tools
        )

    def limited(
        self,
        calls: int | None = None,
        *,
        seconds: float | None = None,
        concurrent: int | None = None,
        per: Literal["toolset", "tool"] = "toolset",
        full: Literal["wait", "refuse"] = "wait",
    ) -> Self:
        """So many calls at most, in all runs together: `limited(60, seconds=60, concurrent=4)`.

        A call that a retry policy makes again counts again, and so does a pure one that was begun
        on a draft. A plain function that was given up and is still in its thread counts no longer.

        Args:
            calls: Begun in any stretch of so many `seconds`.
            concurrent: Going on at once.
            per: Whether the tools share the limit, or have one each.
            full: Whether a call waits for its turn, first come, first served, or is an error.

        Raises:
            DefinitionError: nothing is limited, or a limit is too small.
        """
        rate = _rate(calls, seconds)
        if (rate is None and concurrent is None) or (concurrent is not None and concurrent < 1):
            raise DefinitionError(
                f"limited: concurrent={concurrent!r} is no limit; give calls and seconds, "
                "`concurrent` of 1 or more, or both"
            )

        def gate() -> Gate:
            return Gate(rate=rate, concurrent=concurrent, waits=full == "wait")

        shared = gate()
        return self._with(
            tool.changed(around=(*tool.around, _Limited(shared if per == "toolset" else gate())))
            for tool in self.tools
        )

    def _by_table(self, names: Mapping[str, str]) -> Callable[[str], str]:
        known = [tool.name for tool in self.tools]
        if strangers := names.keys() - set(known):
            raise DefinitionError(
                f"toolset {self.name!r} has no tool {min(strangers)!r} to rename; it has "
                f"{_listed(known)}"
            )
        return lambda name: names.get(name, name)

    def _picked(self, picks: Sequence[Pick], way: str) -> set[str]:
        """The names of the tools that any of `picks` picks."""
        picked: set[str] = set()
        for pick in picks:
            found = {tool.name for tool in self.tools if _fits(tool, pick)}
            if not found and isinstance(pick, str):
                names = _listed([tool.name for tool in self.tools])
                raise DefinitionError(
                    f"{way}: {pick!r} fits no tool of toolset {self.name!r}, which has {names}"
                )
            picked |= found
        return picked


@dataclass(frozen=True, slots=True)
class _Cached:
    """Around a tool's calls: those made before are not made again. tool: what it was called."""

    cache: Cache[str]
    tool: str

    async def __call__(
        self, arguments: Mapping[str, Any], call: Callable[[], Awaitable[str]]
    ) -> str:
        try:
            key = self.tool, canonical(arguments)
        except (TypeError, ValueError):  # given by a program, as what is no JSON
            return await call()
        return await self.cache.get(key, call)


@dataclass(frozen=True, slots=True)
class _Limited:
    """Around a tool's calls: each waits for its turn."""

    gate: Gate

    async def __call__(
        self, arguments: Mapping[str, Any], call: Callable[[], Awaitable[str]]
    ) -> str:
        async with self.gate.passing():
            return await call()


def _fits(tool: AnyTool, pick: Pick) -> bool:
    return fnmatchcase(tool.name, pick) if isinstance(pick, str) else pick(tool)


def _held(tool: AnyTool, when: Condition | None) -> AnyTool:
    """The tool, its calls held for a human beside those that are held already."""
    if when is None or tool.approval:
        return tool.changed(approval=True, approval_when=None)
    held = when if tool.approval_when is None else tool.approval_when | when
    return tool.changed(approval_when=held)


def _renamed(tool: AnyTool, new: str) -> AnyTool:
    if tool.name == new or tool.approval_when is None:
        return tool.changed(name=new)
    return tool.changed(name=new, approval_when=_as_named(tool.approval_when, tool.name))


def _as_named(when: Condition, name: str) -> Condition:
    """A condition that reads a call as one of the tool's earlier name."""

    def test(about: Proposal) -> bool:
        choice = {**about.decision.choice}
        if about.call.tool in choice:
            choice[name] = choice[about.call.tool]
        return when.test(
            replace(
                about,
                decision=replace(about.decision, choice=choice),
                call=replace(about.call, tool=name),
            )
        )

    return Condition(test, when.text)


def _rate(calls: int | None, seconds: float | None) -> Rate | None:
    if calls is None and seconds is None:
        return None
    if calls is None or seconds is None or calls < 1 or not 0 < seconds < math.inf:
        raise DefinitionError(
            f"limited: calls={calls!r}, seconds={seconds!r} is no rate; give both, 1 call or more "
            "in seconds above 0"
        )
    return Rate(calls, seconds)


def _prefix(name: str) -> str:
    """A prefix made of a toolset's name, as a suggestion."""
    return "".join(sign if sign.isalnum() else "_" for sign in name) + "_"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:20])) or "none"
    return f"{shown}, and {len(names) - 20} more" if len(names) > 20 else shown
