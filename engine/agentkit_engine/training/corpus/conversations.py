"""Conversations: what a user says, what the model does, what its tools return.

Each function is one way that a conversation goes. Knows tasks. Must not know which tools are
declared together, nor tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from agentkit_engine.training.corpus.declaring import Declared
from agentkit_engine.training.corpus.described import Tool
from agentkit_engine.training.corpus.kinds import Said
from agentkit_engine.training.corpus.tasks import Maker, Task
from agentkit_engine.training.corpus.wording import polished

NO_TOOL = "I have no tool for that."
_SMALL_TALK: Mapping[str, Sequence[str]] = {
    "Hello! How can I help?": (
        "hello", "hi", "hey there", "good morning", "hi there", "good evening", "hey",
        "hello there", "good afternoon", "hi, are you there",
    ),
    "You are welcome.": (
        "thanks", "thank you", "many thanks", "great, thanks", "thanks a lot", "cheers",
        "perfect, thank you", "that was helpful", "nice work", "thanks for your help",
    ),
    "Goodbye!": (
        "bye", "goodbye", "see you", "good night", "see you later", "that is all, bye",
        "I have to go", "until tomorrow",
    ),
    "I am fine, thank you.": (
        "how are you", "how is it going", "are you ok", "how do you do", "how do you feel",
    ),
    "I am agentkit's small model.": (
        "who are you", "what are you", "what is your name", "are you a robot", "who made you",
    ),
}  # fmt: skip
_IMPOSSIBLE = (
    "write me a poem about {}", "tell me a joke about {}", "paint a picture of {}",
    "sing a song about {}", "what do you think of {}", "explain {} to me", "what is {}",
    "why do people like {}", "do you know {}", "is {} any good", "tell me a story about {}",
    "what is your opinion on {}", "who invented {}", "do you believe in {}", "teach me {}",
    "how does {} work", "what does {} mean", "give me some advice on {}", "I am bored of {}",
)  # fmt: skip
_JOINTS = (" and then ", ", then ", " and ", ". Then ", " and also ", ". Also ", ", and ", "; ")
_REASONS = (
    "the service is not available", "permission denied", "timed out after 30 seconds",
    "not found", "too many requests", "the connection was refused", "internal error",
    "not allowed for this account", "nothing matches", "the quota is used up",
)  # fmt: skip
_IT = ("it", "that", "the result", "that one", "this")


@dataclass(slots=True)
class Conversation:
    """Messages as chat templates take them, and the declared tools.

    Attributes:
        kind: how it goes; a name of `FLOWS`.
        facts: of the answer at a place among the messages, the values that it must contain.
        extraction: what a bare schema, that only the canvas shows, is to be filled with.
    """

    tools: list[dict[str, Any]]
    messages: list[dict[str, Any]]
    kind: str
    facts: dict[int, tuple[str, ...]] = field(default_factory=dict[int, tuple[str, ...]])
    extraction: Task | None = None

    def say(self, text: str) -> None:
        """The user speaks."""
        self.messages.append({"role": "user", "content": text})

    def call(self, *tasks: Task, result: str | None = None) -> None:
        """The model calls tools at once, and they return what the tasks say, or `result`."""
        calls = [task.call for task in tasks]
        self.messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        for task in tasks:
            told = task.result if result is None else result
            self.messages.append({"role": "tool", "name": task.name, "content": told})

    def answer(self, text: str, facts: Sequence[str] = ()) -> None:
        """The model answers, which ends its turn."""
        self.facts[len(self.messages)] = tuple(facts)
        self.messages.append({"role": "assistant", "content": text})

    def report(self, *tasks: Task) -> None:
        """The model says what the tasks gave."""
        facts = [fact for task in tasks for fact in task.facts]
        self.answer(" ".join(task.answer for task in tasks), facts)


@dataclass(frozen=True, slots=True)
class Stage:
    """What conversations of one scene have in common.

    Attributes:
        able: the declared tools that may be called.
        ask: a request for one of them, or for the tool given.
        foreign: draws a tool that is not declared, and whose requests none of the declared serves.
    """

    random: Random
    maker: Maker
    able: Sequence[Declared]
    ask: Callable[[Declared | None], Task]
    foreign: Callable[[], Tool]

    def two(self) -> tuple[Declared, Declared] | None:
        """Two tools that may be called."""
        if len(self.able) < 2:
            return None
        first, second = self.random.sample(self.able, 2)
        return first, second


def single(stage: Stage, found: Conversation) -> None:
    """A request, a call, its result, the answer."""
    task = stage.ask(None)
    found.say(task.request)
    found.call(task)
    found.report(task)


def twice(stage: Stage, found: Conversation) -> None:
    """Two requests, one after the other."""
    single(stage, found)
    single(stage, found)


def together(stage: Stage, found: Conversation) -> None:
    """One request that takes several calls, made at once or in turn."""
    tasks = None
    if stage.random.random() < 0.65:
        tasks = stage.maker.several(stage.random.choice(stage.able))
    if tasks is None:
        pair = stage.two() or (stage.able[0],) * 2
        tasks = [stage.ask(declared) for declared in pair]
        if tasks[0].arguments == tasks[1].arguments and tasks[0].name == tasks[1].name:
            single(stage, found)
            return
        joint = stage.random.choice(_JOINTS)
        found.say(_joined(tasks[0].request, joint, tasks[1]))
    else:
        found.say(tasks[0].request)
    if stage.random.random() < 0.6:
        found.call(*tasks)
    else:
        for task in tasks:
            found.call(task)
    found.report(*tasks)


def chain(stage: Stage, found: Conversation) -> None:
    """What one call returns is what the next one is given."""
    pairs = [
        (first, second, result.name, argument.names[0])
        for first in stage.able
        for second in stage.able
        if first is not second
        for result in first.tool.results
        for argument in second.tool.arguments
        if result.kind is not None and result.kind is argument.kind and argument.required
    ]
    if not pairs:
        together(stage, found)
        return
    first, second, field_name, handle = stage.random.choice(pairs)
    one = stage.ask(first)
    frame, said = stage.maker.drawn(second)
    value = one.fields[field_name]
    if handle not in said or isinstance(value, bool):
        single(stage, found)
        return
    said[handle] = Said(value, str(value))
    words = {h: value.words for h, value in said.items()}
    words[handle] = stage.random.choice((*_IT, f"the {field_name}", f"that {field_name}"))
    two = stage.maker.complete(second, stage.maker.worded(frame, words), said, frame)
    found.say(_joined(one.request, stage.random.choice(_JOINTS), two))
    found.call(one)
    found.call(two)
    found.report(two)


def missing(stage: Stage, found: Conversation) -> None:
    """A request that leaves a required value open, a question, the value, the call."""
    vague = stage.maker.without(stage.ask(None))
    if vague is None:
        single(stage, found)
        return
    task, handle = vague
    name = task.declared.words[handle]
    found.say(task.request)
    found.answer(f"Which {name}?", [name])
    words = task.said[handle].words
    found.say(stage.random.choice(("{}", "{}", "{}, please", "I mean {}", "{}.")).format(words))
    found.call(task)
    found.report(task)


def mended(stage: Stage, found: Conversation) -> None:
    """A call fails with an error that says what is right; it is made again, rightly."""
    task = stage.ask(None)
    pair = stage.maker.corrected(task)
    if pair is None:
        failed(stage, found)
        return
    error, right = pair
    found.say(task.request)
    found.call(task, result=error)
    found.call(right)
    found.report(right)


def failed(stage: Stage, found: Conversation) -> None:
    """A call fails for good."""
    task, reason = stage.ask(None), stage.random.choice(_REASONS)
    found.say(task.request)
    found.call(task, result=stage.maker.failure(task.name, reason))
    found.answer(f"That failed: {reason}.", [reason])


def refusal(stage: Stage, found: Conversation) -> None:
    """A request that no declared tool serves."""
    if stage.random.random() < 0.25:
        topic = stage.maker.topic()
        text = stage.random.choice(_IMPOSSIBLE).format(topic)
        found.say(polished(stage.random, text, imperative=False))
    else:
        found.say(stage.maker.task(stage.foreign()).request)
    found.answer(NO_TOOL)


def small_talk(stage: Stage, found: Conversation) -> None:
    """Neither a request nor a question."""
    answer = stage.random.choice(list(_SMALL_TALK))
    found.say(polished(stage.random, stage.random.choice(_SMALL_TALK[answer])))
    found.answer(answer)


def extraction(stage: Stage, found: Conversation) -> None:
    """A user's words whose values go into a schema that only the canvas shows."""
    task = stage.maker.task(stage.foreign())
    while not task.arguments:
        task = stage.maker.task(stage.foreign())
    found.say(task.request)
    found.extraction = task


FLOWS: Mapping[str, Callable[[Stage, Conversation], None]] = {
    "single": single, "twice": twice, "together": together, "chain": chain, "missing": missing,
    "mended": mended, "failed": failed, "refusal": refusal, "small talk": small_talk,
    "extraction": extraction,
}  # fmt: skip
SHARES: Mapping[str, float] = {
    "single": 0.42, "twice": 0.05, "together": 0.14, "chain": 0.05, "missing": 0.06,
    "mended": 0.07, "failed": 0.02, "refusal": 0.12, "small talk": 0.02, "extraction": 0.05,
}  # fmt: skip


def _joined(request: str, joint: str, second: Task) -> str:
    """Two requests as one; the second without its capital, unless a value begins it."""
    text = second.request
    if not any(text.startswith(value.words) for value in second.said.values()) and text[1:2] != "'":
        text = text[0].lower() + text[1:] if text[:2] != "I " else text
    return request.rstrip(".!?") + joint + text
