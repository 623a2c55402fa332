"""Conversations: declared tools, what the user says, and what the model should do at its turns.

Knows tasks and how people string them together. Must not know tokens or canvases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from agentkit_engine.training.corpus import shipped, values, words
from agentkit_engine.training.corpus.tasks import Task, finish, made_up_task

NO_TOOL = "I have no tool for that."
_SMALL_TALK = {
    "Hello! How can I help?": (
        "hello", "hi", "hey there", "good morning", "hi there", "good evening", "hey",
    ),
    "You are welcome.": (
        "thanks", "thank you", "many thanks", "great, thanks", "thanks a lot", "cheers",
    ),
    "Goodbye!": (
        "bye", "goodbye", "see you", "good night", "see you later",
    ),
    "I am fine, thank you.": (
        "how are you", "how is it going", "are you ok", "how do you do",
    ),
    "I am agentkit's small model.": (
        "who are you", "what are you", "what is your name", "are you a robot",
    ),
}  # fmt: skip
_IMPOSSIBLE = (
    "write me a poem about {t}", "tell me a joke about {t}", "who won the {t} match",
    "what is the capital of {c}", "paint a picture of a {a} {t}", "sing a song about {t}",
    "why is the sky {a}", "how do I {v} a {t}", "order me a {a} pizza", "book a flight to {c}",
    "drive me to {c}", "what do you think of {t}", "translate {t} to french",
    "send an email to {p}", "turn on the light in the {t}", "what is the weather in {c}",
    "play some music by {p}", "call {p}", "how old is {p}", "explain {t} to me", "buy {t} online",
    "find a restaurant in {c}", "who is the mayor of {c}", "what is the meaning of life",
    "open the {t} file",
)  # fmt: skip
_JOINTS = (" and then ", ", then ", " and ", ". Then ", " and also ", ". Also ", ", and ")
_INSTRUCTIONS = (
    "", "", "", "You are a helpful assistant.", "Be brief.", "Use the tools.",
    "You help with daily tasks.", "You are a careful agent.",
    "Answer briefly and use tools when they help.",
)  # fmt: skip


@dataclass(slots=True)
class Conversation:
    """Messages as chat templates take them, and the declared tools.

    Attributes:
        extraction: what a bare schema (no tool is declared) is to be filled with, if anything.
    """

    tools: list[dict[str, Any]]
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    extraction: Task | None = None

    def say(self, text: str) -> None:
        """The user speaks."""
        self.messages.append({"role": "user", "content": text})

    def call(self, task: Task) -> None:
        """The model calls a tool, and the tool returns."""
        call = {"function": {"name": task.name, "arguments": task.arguments}}
        self.messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        self.messages.append({"role": "tool", "name": task.name, "content": task.result})

    def answer(self, text: str) -> None:
        """The model answers, which ends its turn."""
        self.messages.append({"role": "assistant", "content": text})


def conversation(
    random: Random, *, held: bool = False, most_tools: int = 5, shipped_share: float = 0.35
) -> Conversation:
    """One conversation: declared tools, then one exchange or two.

    Args:
        held: call tools whose nouns training never sees; half of the others are such tools, too.
        most_tools: the most tools that are declared.
        shipped_share: how many conversations are about the tools that come with the distribution.
    """
    if random.random() < 0.06:
        return _extraction(random, held=held)
    on_shipped = random.random() < shipped_share
    tasks = [shipped.shipped_task(random) if on_shipped else made_up_task(random, held=held)]
    if random.random() < 0.3:
        tasks.append(_companion(random, tasks[0], on_shipped=on_shipped, held=held))
    found = Conversation(
        _declared(random, tasks, on_shipped=on_shipped, held=held, most=most_tools)
    )
    if random.random() < 0.5:
        text = random.choice(_INSTRUCTIONS)
        if text:
            found.messages.append({"role": "system", "content": text})
    _converse(random, found, tasks, on_shipped=on_shipped, held=held)
    return found


def _extraction(random: Random, *, held: bool) -> Conversation:
    """A user's words whose values go into a schema that only the canvas shows."""
    task = made_up_task(random, held=held)
    while not task.arguments:
        task = made_up_task(random, held=held)
    found = Conversation([], extraction=task)
    found.say(task.request)
    return found


def _converse(
    random: Random, found: Conversation, tasks: list[Task], *, on_shipped: bool, held: bool
) -> None:
    draw = random.random()
    if draw < 0.16:
        _refuse(random, found, on_shipped=on_shipped, held=held)
    elif draw < 0.19:
        _chat(random, found)
    elif len(tasks) == 1 or draw < 0.5:
        _serve(random, found, tasks[:1])
        if len(tasks) > 1:
            _serve(random, found, tasks[1:])
        elif random.random() < 0.1:
            _chat(random, found)
    else:
        _serve(random, found, tasks)


def _serve(random: Random, found: Conversation, tasks: list[Task]) -> None:
    first, rest = tasks[0], tasks[1:]
    request = first.request
    for task in rest:
        joint = random.choice(_JOINTS)
        request = request.rstrip(".!?") + joint + _lowered(task)
    found.say(request)
    for task in tasks:
        found.call(task)
    # of the last result only: a model this small can't place two copies in one denoise
    found.answer(tasks[-1].answer)


def _lowered(task: Task) -> str:
    """The request without its capital, unless that belongs to a value."""
    first = task.request.split(" ")[0].strip(".,!?'\"")
    if any(str(value).startswith(first) for value in task.arguments.values()):
        return task.request
    return task.request[0].lower() + task.request[1:]


def _refuse(random: Random, found: Conversation, *, on_shipped: bool, held: bool) -> None:
    names = {tool["function"]["name"] for tool in found.tools}
    if random.random() < (0.65 if on_shipped else 0.35):
        request = _impossible(random)
    elif on_shipped:
        other = shipped.shipped_task(random)
        if other.name in names:
            _serve(random, found, [other])
            return
        request = other.request
    else:
        other = made_up_task(random, held=held)
        nouns = {part for name in names for part in name.split("_")}
        while other.name in names or nouns & set(other.name.split("_")[1:]):
            other = made_up_task(random, held=held)
        request = other.request
    found.say(request)
    found.answer(NO_TOOL)


def _impossible(random: Random) -> str:
    """A request that no tool of the corpus serves."""
    fill = {
        "t": random.choice((*words.THINGS, *words.NOUNS)),
        "c": values.city(random),
        "a": random.choice(words.ADJECTIVES),
        "p": values.person(random),
        "v": random.choice(words.ACTIONS),
    }
    return finish(random, random.choice(_IMPOSSIBLE)).format(**fill)


def _chat(random: Random, found: Conversation) -> None:
    answer = random.choice(list(_SMALL_TALK))
    found.say(finish(random, random.choice(_SMALL_TALK[answer])))
    found.answer(answer)


def _companion(random: Random, task: Task, *, on_shipped: bool, held: bool) -> Task:
    while True:
        other = shipped.shipped_task(random) if on_shipped else made_up_task(random, held=held)
        if other.name != task.name or (random.random() < 0.3 and on_shipped):
            return other


def _declared(
    random: Random, tasks: list[Task], *, on_shipped: bool, held: bool, most: int
) -> list[dict[str, Any]]:
    """The tasks' tools among others, shuffled; of each name one."""
    tools = {task.name: task.tool for task in tasks}
    if on_shipped:
        groups = (shipped.DECLARATIONS[:1], shipped.DECLARATIONS[1:3], shipped.DECLARATIONS[3:])
        for group in groups:  # toolsets come whole
            names = {tool["function"]["name"] for tool in group}
            if names & set(tools) or random.random() < 0.6:
                tools.update({tool["function"]["name"]: tool for tool in group})
    else:
        for _ in range(random.randint(0, max(0, most - len(tasks)))):
            tool = made_up_task(random, held=held and random.random() < 0.5).tool
            tools.setdefault(tool["function"]["name"], tool)
    declared = list(tools.values())
    if on_shipped and random.random() < 0.5:
        order = {tool["function"]["name"]: place for place, tool in enumerate(shipped.DECLARATIONS)}
        return sorted(declared, key=lambda tool: order[tool["function"]["name"]])
    random.shuffle(declared)
    return declared


def corpus(
    seed: int, *, held: bool = False, most_tools: int = 5, shipped_share: float = 0.35
) -> Iterator[Conversation]:
    """Conversations without end; the same seed gives the same ones."""
    random = Random(seed)
    while True:
        yield conversation(random, held=held, most_tools=most_tools, shipped_share=shipped_share)
