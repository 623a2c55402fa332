"""Cases: single turns with what the model should do there, and the sets they come in.

The sets are drawn from the parts of the corpus that training never sees: tools whose nouns or verbs
are held out, or wordings that are. Knows conversations. Must not know engines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from agentkit_engine.training.corpus.conversations import Conversation
from agentkit_engine.training.corpus.scenes import Part, corpus
from agentkit_engine.training.evaluation.matching import Called

if TYPE_CHECKING:  # slow to import
    from agentkit_engine.filling.settings import Verify
    from agentkit_engine.layouts.maker import Layout

SEED = 987_654_321  # far from every seed that training uses
MOST_TOOLS = 8

Kind: TypeAlias = Literal[
    "choice", "call", "calls", "mended", "next call", "answer", "question", "no tool",
    "small talk", "schema", "row",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the model sees, and what it should do.

    Attributes:
        kind: how it is judged.
        tools: declarations as chat templates take them.
        messages: those before the turn.
        calls: those to be made; none for an answer.
        facts: what the answer must contain.
        schema: to be filled instead of deciding.
        value: what it is to be filled with.
        id: of a row of a case file.
        category: of such a row.
    """

    kind: Kind
    tools: Sequence[Mapping[str, Any]]
    messages: Sequence[Mapping[str, Any]]
    calls: tuple[Called, ...] = ()
    facts: tuple[str, ...] = ()
    schema: Any = None
    value: Any = None
    id: str = ""
    category: str = ""

    @property
    def schemas(self) -> dict[str, Any]:
        """Name -> schema of the arguments, of all tools."""
        return {tool["function"]["name"]: tool["function"]["parameters"] for tool in self.tools}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A set: which turns of which conversations, and the ways they are decided in by default.

    Attributes:
        title: of its table.
        parts: where the conversations come from, in turn.
        kinds: the turns that are asked.
        judged: the kind that these are judged as, if not as their own.
        max_calls: of one turn, at most.
    """

    title: str
    parts: tuple[Part, ...]
    kinds: tuple[Kind, ...]
    judged: Kind | None = None
    verify: tuple[Verify, ...] = ("off", "rerank", "exact")
    layouts: tuple[Layout, ...] = ("slots",)
    max_calls: int = 1


def _parts(
    flow: str, *, held: bool = True, fresh: bool = False, opaque: float = 0.0
) -> tuple[Part, ...]:
    """One for each number of declared tools, which are then equally common."""
    return tuple(
        Part(
            held=held, fresh=fresh, opaque=opaque, shipped=0.0, least_tools=count,
            most_tools=count, branches=1, shares={flow: 1.0},
        )
        for count in range(1, MOST_TOOLS + 1)
    )  # fmt: skip


_SHIPPED = Part(
    held=True, shipped=1.0, branches=1, shares={"single": 0.65, "refusal": 0.25, "failed": 0.1}
)
_BARE = Part(held=True, bare=1.0, shipped=0.0, branches=1, shares={"extraction": 1.0})
SETS: Mapping[str, Asked] = {
    "choice": Asked(
        title="choice among 1 to 8 tools",
        parts=_parts("single"), kinds=("call",), judged="choice", verify=("off",),
    ),
    "opaque": Asked(
        title="choice among 1 to 8 tools whose names mean nothing",
        parts=_parts("single", opaque=1.0), kinds=("call",), judged="choice", verify=("off",),
    ),
    "no-tool": Asked(
        title="no suitable tool", parts=_parts("refusal"), kinds=("no tool",),
    ),
    "calls": Asked(
        title="one call: slots, and the same as running text (float)",
        parts=_parts("single"), kinds=("call",), layouts=("slots", "float"),
    ),
    "answers": Asked(
        title="tool result to answer", parts=_parts("single"), kinds=("answer",),
    ),
    "errors": Asked(
        title="error to corrected call", parts=_parts("mended"), kinds=("mended",),
    ),
    "several": Asked(
        title="several calls at once",
        parts=_parts("together"), kinds=("calls",), max_calls=8,
    ),
    "missing": Asked(
        title="missing argument", parts=_parts("missing"), kinds=("question",),
    ),
    "schemas": Asked(
        title="bare schema", parts=(_BARE,), kinds=("schema",),
    ),
    "shipped": Asked(
        title="shipped tools", parts=(_SHIPPED,), kinds=("call", "answer", "no tool"),
    ),
    "fresh": Asked(
        title="seen tools, wordings never trained on",
        parts=_parts("single", held=False, fresh=True), kinds=("call",),
    ),
}  # fmt: skip
"""All but the last two are of held-out tools, all but the last of held-out values."""


def cases(name: str, *, seed: int = SEED) -> Iterator[Case]:
    """The turns of one of `SETS`, without end; the same seed gives the same ones."""
    asked = SETS[name]
    drawn = [_drawn(asked, part, f"{seed}/{place}") for place, part in enumerate(asked.parts)]
    for source in cycle(drawn):
        yield next(source)


def _drawn(asked: Asked, part: Part, seed: str) -> Iterator[Case]:
    for scene in corpus(seed, part):
        for conversation in scene:
            for case in turns(conversation):
                if case.kind in asked.kinds:
                    yield replace(case, kind=asked.judged or case.kind)


def turns(conversation: Conversation) -> Iterator[Case]:
    """Every turn of the model."""
    messages, tools = conversation.messages, conversation.tools
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        case = Case(kind="answer", tools=tools, messages=messages[:index])
        if "tool_calls" not in message:
            kind, facts = _answer_kind(conversation, index), conversation.facts[index]
            yield replace(case, kind=kind, facts=facts)
            continue
        calls = _calls_of(message)
        afterwards = messages[index - 1]["role"] == "tool"
        if afterwards:
            # after an error the same call is made again, rightly
            kind = "mended" if conversation.kind == "mended" else "next call"
        elif conversation.kind == "together":
            calls = _until_answer(messages, index)
            kind = "calls" if len(calls) > 1 else "call"
        else:
            kind = "call"
        yield replace(case, kind=kind, calls=calls)
    if conversation.extraction is not None:
        task = conversation.extraction
        schema, value = task.declared.schema, task.arguments
        yield Case(kind="schema", tools=tools, messages=messages, schema=schema, value=value)


def _answer_kind(conversation: Conversation, index: int) -> Kind:
    if conversation.messages[index - 1]["role"] == "tool":
        return "answer"
    kinds: dict[str, Kind] = {"refusal": "no tool", "small talk": "small talk"}
    return kinds.get(conversation.kind, "question")


def _calls_of(message: Mapping[str, Any]) -> tuple[Called, ...]:
    made = [call["function"] for call in message["tool_calls"]]
    return tuple(Called(one["name"], one["arguments"]) for one in made)


def _until_answer(messages: Sequence[Mapping[str, Any]], index: int) -> tuple[Called, ...]:
    """What is called at once or in turn: the request does not tell which."""
    found: list[Called] = []
    for message in messages[index:]:
        if message["role"] == "assistant":
            if "tool_calls" not in message:
                break
            found += _calls_of(message)
    return tuple(found)


__all__ = ["SEED", "SETS", "Asked", "Case", "Kind", "cases", "turns"]
