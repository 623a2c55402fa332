"""What a reply comes to: calls, or an answer, what is wrong with it, and drafts while it grows.

Knows replies, tools' schemas and the answers'. Must not know servers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentkit.backend import Draft, OnDraft, ProposedCall, ToolSpec
from agentkit.backends.openai.confidence import Likelihoods
from agentkit.backends.openai.reply import Reply, read_arguments, read_json, shortened
from agentkit.backends.openai.transcript import Chat, said

if TYPE_CHECKING:
    from agentkit.backends.openai.checking import Check

_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """What a reply says. `fault`: what the model is to do better, in words for it; or empty."""

    calls: tuple[ProposedCall, ...] = ()
    choice: Mapping[str, float] = field(default_factory=dict[str, float])
    answer: str | None = None
    fault: str = ""


class Reader:
    """Reads the replies of one conversation."""

    def __init__(self, tools: Mapping[str, ToolSpec], output: Check | None) -> None:
        self._tools = tools
        self._output = output
        self._checks: dict[str, Check] = {}

    def read(self, reply: Reply, most: int | None) -> Found:
        """A reply that has ended. most: how many calls are kept."""
        calls, choice = _proposed(reply, len(reply.calls), most)
        if calls:
            faults = [
                f"{call.problem} (in the call of {call.tool})" for call in calls if call.problem
            ]
            return Found(calls, choice, fault="\n".join(faults))
        answer = reply.text
        if self._output is None:
            return Found(answer=answer)
        fenced = _FENCED.fullmatch(answer)
        answer = fenced[1] if fenced else answer
        return Found(answer=answer, fault=_answer_fault(answer, self._output))

    def settled(self, reply: Reply, most: int | None) -> tuple[ProposedCall, ...]:
        """The calls that will stay as they are and may be started: up to the first invalid one."""
        calls, _ = _proposed(reply, reply.settled, most)
        count = next((n for n, call in enumerate(calls) if not self._valid(call)), len(calls))
        return calls[:count]

    def so_far(self, reply: Reply) -> str | None:
        """The answer as it reads now; None where there is none, or none that is valid."""
        text = reply.text
        if not text or reply.calls:
            return None
        return text if self._output is None else _completed(text, self._output)

    def _valid(self, call: ProposedCall) -> bool:
        tool = self._tools.get(call.tool)
        if call.problem or tool is None:
            return False
        if call.tool not in self._checks:
            from agentkit.backends.openai.checking import Check  # there since the backend was made

            self._checks[call.tool] = Check(tool.parameters)
        return not self._checks[call.tool].fault(call.arguments)


class Drafts:
    """Tells drafts of a reply as it grows: a step a chunk, of as many as there are so far.

    calls: those told as settled, which bind the reply.
    """

    def __init__(self, reader: Reader, most: int | None, tell: OnDraft) -> None:
        self._reader = reader
        self._most = most
        self._tell = tell
        self._step = 0
        self._settled = 0
        self.calls: tuple[ProposedCall, ...] = ()

    def __call__(self, reply: Reply) -> None:
        self._step += 1
        if reply.settled != self._settled:
            self._settled = reply.settled
            # What was told stays; a server that changes it is found out when the reply has ended.
            self.calls += self._reader.settled(reply, self._most)[len(self.calls) :]
        answer = self._reader.so_far(reply)
        calls = self.calls
        self._tell(Draft(self._step, self._step, reply.rows, calls, len(calls), answer))


def correction(reply: Reply, fault: str) -> list[Chat]:
    """What a request goes on with where the reply won't do.

    The calls are told in words: servers that put calls into a chat template parse their arguments,
    and fail where these are no JSON.
    """
    calls = [f"(called {call.name} with {shortened(call.text)})" for call in reply.calls]
    wrote = "\n".join([reply.text, *calls]).strip() or "(nothing)"
    return [
        said("assistant", wrote),
        said("user", f"That can't be used: {fault}\nDo the same again without that mistake."),
    ]


def _proposed(
    reply: Reply, count: int, most: int | None
) -> tuple[tuple[ProposedCall, ...], dict[str, float]]:
    likelihoods = Likelihoods(reply.likelihoods)
    calls: list[ProposedCall] = []
    choice: dict[str, float] = {}
    for written in reply.calls[:count][:most]:
        arguments, problem = read_arguments(written.text)
        if problem and reply.finish == "length":
            problem = f"the reply was cut off where its tokens ran out; {problem}"
        share, confidence = likelihoods.of_call(written.name, arguments)
        if share is not None:
            choice[written.name] = min(share, choice.get(written.name, 1.0))
        calls.append(ProposedCall(written.name, arguments, {} if problem else confidence, problem))
    return tuple(calls), choice


def _answer_fault(text: str, output: Check) -> str:
    try:
        value = read_json(text)
    except ValueError as error:
        return f"the answer is no JSON ({error}); write JSON and nothing else."
    fault = output.fault(value)
    return f"the answer does not satisfy its JSON Schema: {fault}" if fault else ""


def _completed(text: str, output: Check) -> str | None:
    """JSON that breaks off, brought to an end; None where that is not valid."""
    from pydantic_core import from_json

    try:
        value = from_json(text, allow_partial="trailing-strings")
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return None
    return None if output.fault(value) else written
