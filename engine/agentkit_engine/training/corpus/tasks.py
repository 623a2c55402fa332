"""Tasks: a declared tool, a request for it, the call that serves the request, what comes back.

Knows the tools of the domain files and how they are worded. Must not know conversations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from agentkit_engine.training.corpus.declaring import Declared, declare
from agentkit_engine.training.corpus.described import Frame, Result, Tool
from agentkit_engine.training.corpus.domains import imperatives
from agentkit_engine.training.corpus.kinds import KINDS, Said
from agentkit_engine.training.corpus.wording import (
    Style,
    failure,
    key,
    listed,
    polished,
    style,
)

_DONE = ("ok", "done", "success", "completed")
_ORDERED = tuple(KINDS[name] for name in ("date", "datetime", "time", "year"))
_QUOTES = "\"'`"
_NOTHING_SAID = Frame(())


@dataclass(frozen=True, slots=True)
class Task:
    """One call and its surroundings.

    Attributes:
        request: what the user says.
        arguments: what the call must carry.
        result: what the tool returns.
        answer: what the model should say of it.
        facts: the values that the answer must contain.
        fields: what the result says, by name.
        said: handle -> the value as it was said.
        frame: what the request was made of.
    """

    declared: Declared
    request: str
    arguments: dict[str, Any]
    result: str
    answer: str
    facts: tuple[str, ...]
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    said: Mapping[str, Said] = field(default_factory=dict[str, Said])
    frame: Frame = _NOTHING_SAID

    @property
    def name(self) -> str:
        return self.declared.name

    @property
    def call(self) -> dict[str, Any]:
        """In the form that messages take."""
        return {"function": {"name": self.name, "arguments": self.arguments}}


class Maker:
    """Makes declarations and tasks of tools, all from one source of chance.

    Args:
        held: values come from the held-out vocabularies.
        fresh: requests come from the frames that training never uses (the last of each tool).
    """

    def __init__(self, random: Random, *, held: bool = False, fresh: bool = False) -> None:
        self.random, self.held, self.fresh = random, held, fresh

    def task(self, tool: Tool) -> Task:
        """A task with a declaration of its own."""
        return self.request(self.declare(tool))

    def declare(
        self, tool: Tool, *, spelled: Style | None = None, opaque: bool = False
    ) -> Declared:
        """One of the many ways in which an API may offer the tool; see `declaring.declare`."""
        return declare(self.random, tool, spelled or style(self.random), opaque=opaque)

    def request(self, declared: Declared) -> Task:
        """A request that the tool serves."""
        frame, said = self.drawn(declared)
        text = self.worded(frame, {handle: value.words for handle, value in said.items()})
        return self.complete(declared, text, said, frame)

    def drawn(self, declared: Declared) -> tuple[Frame, dict[str, Said]]:
        """A frame, those of its groups that are said, and their values."""
        random, tool = self.random, declared.tool
        (*usual, last) = tool.frames
        frame = last if self.fresh else random.choice(usual)
        groups = tuple(g for g in frame.groups if not g.optional or random.random() < 0.55)
        frame = Frame(groups)
        said: dict[str, Said] = {}
        for handle in frame.handles:
            said[handle] = self._draw(declared, handle)
        _order(tool, said)
        return frame, said

    def worded(self, frame: Frame, words: Mapping[str, str]) -> str:
        """The frame with its values, polished."""
        text = ""
        for group in frame.groups:
            for place, part in enumerate(group.parts):
                word = words[part] if place % 2 else part
                quoted = place % 2 and text[-1:] in _QUOTES and word[:1] in _QUOTES
                text += word.strip(_QUOTES) if quoted else word
        start = frame.groups[0].parts[0].strip()
        imperative = start.split(" ", 1)[0] in imperatives()
        return polished(self.random, text, literal=bool(start), imperative=imperative)

    def complete(
        self, declared: Declared, request: str, said: Mapping[str, Said], frame: Frame
    ) -> Task:
        """The call, the result and the answer that go with a request."""
        arguments = _arguments(declared, said)
        fields = dict(self._fields(declared.tool.results, said))
        result, answer, facts = self._outcome(declared, fields)
        return Task(declared, request, arguments, result, answer, facts, fields, said, frame)

    def several(self, declared: Declared) -> list[Task] | None:
        """One request for two to four calls that differ in an argument or two; None: none can."""
        random = self.random
        if not declared.tool.frames:
            return None
        frame, said = self.drawn(declared)
        required = [h for g in frame.groups if not g.optional for h in g.handles if "." not in h]
        kinds = {h: declared.tool.argument(h).kind for h in said}
        paired = [k for k in _ORDERED if list(kinds.values()).count(k) > 1]  # from ... until ...
        varied = [
            h for h in required
            if not isinstance(said[h].value, (bool, list, dict)) and kinds[h] not in paired
        ]  # fmt: skip
        if not varied:
            return None
        count = random.choice((2, 2, 3, 4))
        both = len(varied) > 1 and random.random() < 0.25
        columns = {
            handle: self._others(declared, handle, said[handle], count)
            for handle in random.sample(varied, 2 if both else 1)
        }
        count = min(map(len, columns.values()))
        if count < 2:
            return None
        words = {h: value.words for h, value in said.items()} | {
            handle: listed(random, [value.words for value in values[:count]])
            for handle, values in columns.items()
        }
        request = self.worded(frame, words)
        if both:
            request = f"{request.rstrip('.!?')} respectively"
        rows = [{h: values[number] for h, values in columns.items()} for number in range(count)]
        return [self.complete(declared, request, {**said, **row}, frame) for row in rows]

    def _others(self, declared: Declared, handle: str, first: Said, count: int) -> list[Said]:
        """At most `count` values of an argument, all different, the first as told."""
        found = [first]
        for _ in range(3 * count):
            value = self._draw(declared, handle)
            if len(found) < count and all(value.value != other.value for other in found):
                found.append(value)
        return found

    def _draw(self, declared: Declared, handle: str) -> Said:
        kind = declared.tool.argument(handle).kind
        assert kind is not None  # frames say no object as a whole
        return kind.draw(self.random, held=self.held)

    def without(self, task: Task) -> tuple[Task, str] | None:
        """The task with a required value left vague, and the argument; None where none can."""
        required = [
            h for h in task.frame.handles
            if "." not in h and task.declared.tool.argument(h).required
            and not isinstance(task.said[h].value, bool)
        ]  # fmt: skip
        if not required:
            return None
        handle = self.random.choice(required)
        name = task.declared.words[handle]
        vague = self.random.choice((name, f"some {name}", f"a {name}", f"the {name}", "something"))
        around = " ".join(text for group in task.frame.groups for text in group.parts[::2])
        if name.split()[-1] in around:  # "the minutes minutes"
            vague = "something"
        words = {h: value.words for h, value in task.said.items()}
        request = self.worded(task.frame, {**words, handle: vague})
        return replace(task, request=request), handle

    def corrected(self, task: Task) -> tuple[str, Task] | None:
        """An error that says what is right, and the task as it is right; None where none can."""
        random = self.random
        texts = [h for h in task.said if "." not in h and isinstance(task.said[h].value, str)
                 and "enum" not in self._property(task, h)]  # fmt: skip
        if not texts:
            return None
        handle = random.choice(texts)
        wrong, right = task.said[handle].value, self._draw(task.declared, handle)
        if right.value == wrong:
            return None
        name = task.declared.keys[handle]
        reason = random.choice((
            f"unknown {name} '{wrong}', did you mean '{right.value}'?",
            f"no {name} '{wrong}'; there is '{right.value}'",
            f"'{wrong}' is not valid, use '{right.value}'",
            f"{name} must be '{right.value}'",
            f"{name} '{wrong}' not found. Closest match: '{right.value}'",
            f"{name} '{wrong}' was renamed to '{right.value}'",
        ))  # fmt: skip
        mended = self.complete(
            task.declared, task.request, {**task.said, handle: right}, task.frame
        )
        return self.failure(task.name, reason), mended

    def topic(self) -> str:
        """What one may talk about."""
        kinds = ("subject", "product", "person", "city", "animal", "movie")
        return KINDS[self.random.choice(kinds)].draw(self.random, held=self.held).words

    def failure(self, name: str, reason: str) -> str:
        """What a failed call returns: a text, or an object of JSON."""
        draw = self.random.random()
        if 0.4 <= draw < 0.5:
            return json.dumps({"error": reason}, ensure_ascii=False)
        return failure(name, reason, bare=draw < 0.4)

    def _property(self, task: Task, handle: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = task.declared.schema["properties"][task.declared.keys[handle]]
        return found

    def _outcome(
        self, declared: Declared, fields: Mapping[str, Any]
    ) -> tuple[str, str, tuple[str, ...]]:
        """What a call returns, what the model says of it, and the values it must then say."""
        random = self.random
        if not fields:
            done = random.choice(_DONE)
            return done, f"The answer is {done}.", (done,)
        if len(fields) == 1 and random.random() < 0.5:
            (value,) = map(_shown, fields.values())
            return value, f"The answer is {value}.", (value,)
        texts = tuple(map(_shown, fields.values()))
        answer = ", ".join(f"{name} {text}" for name, text in zip(fields, texts, strict=True))
        return self._result(declared, fields), f"The result: {answer}.", texts

    def _fields(
        self, results: Sequence[Result], said: Mapping[str, Said]
    ) -> Iterator[tuple[str, Any]]:
        for result in results:
            if result.kind is not None:
                yield result.name, result.kind.draw(self.random, held=self.held).value
            elif result.echo in said:
                yield result.name, said[result.echo].value

    def _result(self, declared: Declared, fields: Mapping[str, Any]) -> str:
        draw = self.random.random()
        if draw < 0.65:
            written = {key(declared.style, name): value for name, value in fields.items()}
            tight = (",", ":") if draw < 0.3 else (", ", ": ")
            return json.dumps(written, ensure_ascii=False, separators=tight)
        joint = self.random.choice((", ", "; ", ". "))
        return joint.join(f"{name}: {_shown(value)}" for name, value in fields.items())


def _order(tool: Tool, said: dict[str, Said]) -> None:
    """Of two dates or times the earlier argument has the earlier one: a start before an end."""
    for kind in _ORDERED:
        places = [a.names[0] for a in tool.arguments if a.kind is kind and a.names[0] in said]
        values = sorted((said[handle] for handle in places), key=lambda one: str(one.value))
        said.update(zip(places, values, strict=True))


def _arguments(declared: Declared, said: Mapping[str, Said]) -> dict[str, Any]:
    """The call's arguments in the order of the declaration."""
    found: dict[str, Any] = {}
    for argument in declared.tool.arguments:
        handle = argument.names[0]
        if argument.kind is None:
            inside = {
                declared.keys[f"{handle}.{m.names[0]}"]: said[f"{handle}.{m.names[0]}"].value
                for m in argument.members
                if f"{handle}.{m.names[0]}" in said
            }
            if inside or argument.required:
                found[declared.keys[handle]] = inside
        elif handle in said:
            found[declared.keys[handle]] = said[handle].value
    return found


def _shown(value: Any) -> str:
    """A value as an answer says it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return str(value)
