"""Tasks: a tool, a request for it, the call that serves the request, and what comes back.

The tools here are made up; those that come with the distribution are in `shipped.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from agentkit_engine.training.corpus import values, words
from agentkit_engine.training.corpus.values import Argument

_OPENINGS = (
    "", "", "", "please ", "I want to ", "can you ", "I need you to ", "could you ", "I'd like to ",
    "hey, ", "let's ",
)  # fmt: skip
_DONE = ("Done", "Added", "Created", "Sent", "Saved", "Removed", "Started", "Updated")


@dataclass(frozen=True, slots=True)
class Task:
    """One call and its surroundings.

    Attributes:
        tool: the declaration, as chat templates take it.
        request: what the user says.
        arguments: what the call must carry.
        result: what the tool returns.
        answer: what the model should say of it.
    """

    tool: dict[str, Any]
    request: str
    arguments: dict[str, Any]
    result: str
    answer: str

    @property
    def name(self) -> str:
        return str(self.tool["function"]["name"])


def declaration(
    name: str, description: str, properties: dict[str, Any], required: list[str]
) -> dict[str, Any]:
    """A tool in the form that chat templates take."""
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = required
    parameters["additionalProperties"] = False
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


def made_up_task(random: Random, *, held: bool = False) -> Task:
    """A tool nobody has seen, with at most three parameters.

    Args:
        held: its noun is a held-out one, and its verb may be.
    """
    verb, noun = _verb_and_noun(random, held=held)
    arguments = _arguments(random, random.choice((0, 1, 1, 1, 2, 2, 3, 3)))
    properties = {a.name: _described(random, a) for a in arguments}
    optional = {a.name for a in arguments if random.random() < 0.2}
    said = [a for a in arguments if a.name not in optional or random.random() < 0.5]
    required = [a.name for a in arguments if a.name not in optional]
    name = _name(random, verb, noun)
    tool = declaration(name, _description(random, verb, noun), properties, required)
    result, answer = _outcome(random, noun, name)
    request = _request(random, verb, noun, said)
    return Task(tool, request, {a.name: a.value for a in said}, result, answer)


def failure(random: Random, name: str, reason: str) -> str:
    """What a failed call returns: the bare reason, or as the agent loop words it."""
    if random.random() < 0.4:
        return f"error: {reason}"
    told = f"error: {name} failed: ValueError: {reason}."
    return f"{told} Call it with other arguments, or answer without it."


def _verb_and_noun(random: Random, *, held: bool) -> tuple[str, str]:
    verbs = [verb for verb in words.VERBS if held or verb not in words.HELD_VERBS]
    if random.random() < 0.25:
        noun = words.made_up(random, 2, 3)
    else:
        noun = random.choice([noun for noun in words.NOUNS if (noun in words.HELD_NOUNS) == held])
    if random.random() < 0.15:
        noun = f"{random.choice(words.ADJECTIVES)} {noun}"
    return random.choice(verbs), noun


def _name(random: Random, verb: str, noun: str) -> str:
    parts = [verb, *noun.split()]
    style = random.random()
    if style < 0.7:
        return "_".join(parts)
    if style < 0.85:
        return parts[0] + "".join(part.capitalize() for part in parts[1:])
    return "_".join([*parts[1:], parts[0]])


def _description(random: Random, verb: str, noun: str) -> str:
    said = random.choice(words.VERBS[verb]) if random.random() < 0.5 else verb
    text = f"{said} {random.choice(('a ', 'the ', 'a user' + chr(39) + 's ', ''))}{noun}"
    tail = random.choice(("", "", "", " by its details", " in the system", " and say how it went"))
    return (text + tail).capitalize() + "." if random.random() < 0.7 else text + tail


def _described(random: Random, argument: Argument) -> dict[str, Any]:
    if random.random() < 0.7:
        return argument.schema
    opening = random.choice(("The", "the", "Which", "what"))
    text = (
        f"{opening} {values.spoken(argument.name)}{random.choice(('', ' to use', ' of it', '.'))}"
    )
    return {**argument.schema, "description": text}


def _arguments(random: Random, count: int) -> list[Argument]:
    """At most `count` parameters: of each name one."""
    found: dict[str, Argument] = {}
    for _ in range(count):
        drawn = values.argument(random)
        found.setdefault(drawn.name, drawn)
    return list(found.values())


def _request(random: Random, verb: str, noun: str, said: list[Argument]) -> str:
    phrases = [argument.phrase for argument in said]
    random.shuffle(phrases)
    article = random.choice(("a ", "the ", "", "my ", "this "))
    core = f"{random.choice(words.VERBS[verb])} {article}{noun}"
    if phrases and random.random() < 0.15:
        # values may come first, so the first letter stays as it is
        text = random.choice((", ", " ")).join(phrases) + f", {random.choice(_OPENINGS)}{core}"
        return " ".join(text.split())
    text = random.choice(_OPENINGS) + core
    if phrases:
        text += random.choice((" ", " ", ", ")) + random.choice((" ", ", ", " and ")).join(phrases)
    return finish(random, text)


def finish(random: Random, text: str) -> str:
    """Capital letter and full stop, as people do or don't write them."""
    text = " ".join(text.split())
    if random.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text + random.choice(("", "", "", ".", ".", "!", "?"))


def _outcome(random: Random, noun: str, name: str) -> tuple[str, str]:
    """What a call returns, and what the model says of it."""
    draw = random.random()
    if draw < 0.12:
        reason = random.choice((
            f"no {noun} found", f"unknown {noun}", f"the {noun} service is not available",
            f"{values.phrase(random)} is not valid", "permission denied",
            "timed out after 30 seconds",
        ))  # fmt: skip
        return failure(random, name, reason), f"That failed: {reason}."
    if draw < 0.5:
        value = _one_value(random)
        return value, f"The answer is {value}."
    if draw < 0.75:
        done, number = random.choice(_DONE), random.randint(1, 99)
        what = random.choice((values.phrase, values.errand, values.person))(random)
        return f"{done} {number}: {what}", f"{done} {number}: {what}."
    pairs = _pairs(random)
    text = "{" + ",".join(f'"{key}":"{value}"' for key, value in pairs.items()) + "}"
    return text, ", ".join(f"{key} is {value}" for key, value in pairs.items()) + "."


def _one_value(random: Random) -> str:
    makers: tuple[Callable[[Random], Any], ...] = (
        values.integer, values.decimal, values.reference, values.city, values.phrase, values.date,
        values.clock_time, values.person,
    )  # fmt: skip
    value = str(random.choice(makers)(random))
    return f"{value} {random.choice(words.COUNTS)}" if random.random() < 0.3 else value


def _pairs(random: Random) -> dict[str, str]:
    makers: tuple[Callable[[Random], Any], ...] = (
        values.integer, values.decimal, values.city, values.reference,
    )  # fmt: skip
    found: dict[str, str] = {}
    for _ in range(random.randint(1, 3)):
        key = random.choice((*words.COUNTS, *words.ENUMS, words.made_up(random)))
        found[key] = str(random.choice(makers)(random))
    return found
