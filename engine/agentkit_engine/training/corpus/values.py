"""Values of every kind, and how a request says them.

Knows words and JSON Schema. Must not know tools or conversations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from agentkit_engine.training.corpus import words


@dataclass(frozen=True, slots=True)
class Argument:
    """One parameter of a tool, and what the request says of it.

    Attributes:
        schema: its JSON Schema.
        value: what the call must carry.
        phrase: the words that say so.
    """

    name: str
    schema: dict[str, Any]
    value: Any
    phrase: str


def city(random: Random) -> str:
    """A place, real or made up."""
    draw = random.random()
    if draw < 0.5:
        return random.choice(words.CITIES)
    if draw < 0.65:
        return random.choice(words.LONG_CITIES)
    name = words.made_up(random).capitalize()
    return f"{name} {words.made_up(random).capitalize()}" if random.random() < 0.3 else name


def person(random: Random) -> str:
    """A person's first or full name."""
    known = random.random() < 0.6
    first = random.choice(words.FIRST_NAMES) if known else words.made_up(random).capitalize()
    return f"{first} {words.made_up(random).capitalize()}" if random.random() < 0.35 else first


def errand(random: Random) -> str:
    """A thing to be done: 'buy fresh milk tomorrow', 'call the dentist'."""
    thing = random.choice(words.THINGS) if random.random() < 0.8 else words.made_up(random, 1, 3)
    parts = [random.choice(words.ACTIONS)]
    if random.random() < 0.4:
        parts.append(random.choice(("the", "a", "my", "some", "two", "three", "our")))
    if random.random() < 0.25:
        parts.append(random.choice(words.ADJECTIVES))
    parts.append(thing)
    if random.random() < 0.2:
        parts += ["and", random.choice(words.THINGS)]
    if random.random() < 0.3:
        parts.append(random.choice(words.TAIL_PHRASES))
    return " ".join(parts)


def phrase(random: Random) -> str:
    """A title, topic or search text of one to five words."""
    if random.random() < 0.3:
        return errand(random)
    pool = words.THINGS + words.ADJECTIVES + words.NOUNS
    return " ".join(
        words.made_up(random, 1, 3) if random.random() < 0.45 else random.choice(pool)
        for _ in range(random.choice((1, 1, 2, 2, 3, 4)))
    )


def reference(random: Random) -> str:
    """An identifier: 'AB-1290', 'ref_81', '4711'."""
    letters = "".join(random.choice("ABCDEFGHKLMNPQRSTUVWXYZ") for _ in range(random.randint(1, 3)))
    number = str(random.randint(10, 9999))
    return random.choice(
        (f"{letters}-{number}", f"{letters}{number}", f"{letters.lower()}_{number}", number)
    )


def email(random: Random) -> str:
    """A plausible e-mail address."""
    domain = f"{words.made_up(random, 1, 2)}.{random.choice(('com', 'org', 'net', 'io'))}"
    return f"{random.choice(words.FIRST_NAMES).lower()}@{domain}"


def path(random: Random) -> str:
    """A file path."""
    parts = [
        random.choice((random.choice(words.THINGS), words.made_up(random)))
        for _ in range(random.randint(1, 3))
    ]
    return "/".join(parts) + random.choice((".txt", ".py", ".md", ".csv", ".json", ""))


def date(random: Random) -> str:
    """An ISO date."""
    return f"{random.randint(2020, 2031)}-{random.randint(1, 12):02d}-{random.randint(1, 28):02d}"


def clock_time(random: Random) -> str:
    """A time of day, HH:MM."""
    return f"{random.randint(0, 23):02d}:{random.choice((0, 15, 30, 45)):02d}"


def integer(random: Random) -> int:
    """Mostly small, some large, a few negative."""
    low, high = random.choice(((1, 9), (1, 9), (10, 99), (10, 99), (100, 9999)))
    value = random.randint(low, high)
    return -value if random.random() < 0.04 else value


def decimal(random: Random) -> float:
    """A number with one or two decimals."""
    return round(random.randint(0, 999) + random.randint(1, 99) / 100, random.choice((1, 2))) or 0.5


@dataclass(frozen=True, slots=True)
class _Kind:
    """Parameters whose name tells what they hold, and how requests say such a value."""

    names: tuple[str, ...]
    make: Callable[[Random], Any]
    frames: tuple[str, ...]
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


_KINDS = (
    _Kind(
        ("city", "location", "destination", "place", "town"),
        city,
        ("in {v}", "to {v}", "near {v}", "for {v}"),
    ),
    _Kind(
        ("origin", "source", "departure"),
        city,
        ("from {v}", "leaving {v}", "starting in {v}"),
    ),
    _Kind(
        ("date", "day", "start", "deadline", "due"),
        date,
        ("on {v}", "for {v}", "dated {v}", "by {v}"),
        {"type": "string", "format": "date"},
    ),
    _Kind(("time", "hour", "slot"), clock_time, ("at {v}", "around {v}")),
    _Kind(
        ("person", "recipient", "contact", "customer", "assignee", "owner", "name"),
        person,
        ("for {v}", "with {v}", "to {v}", "for my friend {v}"),
    ),
    _Kind(
        ("query", "topic", "subject", "title", "text", "keyword", "message"),
        phrase,
        ("about {v}", "called {v}", "titled {v}", "regarding {v}", "saying {v}", '"{v}"', "'{v}'"),
    ),
    _Kind(
        ("id", "code", "reference", "number", "serial"),
        reference,
        ("{n} {v}", "with reference {v}", "number {v}"),
    ),
    _Kind(("email", "address", "to"), email, ("to {v}", "at {v}", "for {v}")),
    _Kind(("path", "file", "filename"), path, ("in {v}", "at {v}", "from {v}", "{v}")),
    _Kind(
        ("amount", "price", "budget", "weight", "distance"),
        decimal,
        ("of {v}", "worth {v}", "for {v}", "{v} in {n}"),
        {"type": "number"},
    ),
)
_GENERAL = (
    "with {n} {v}", "{n} {v}", "{n} is {v}", "{n}: {v}", "set {n} to {v}", "using {v} as {n}",
    "{v} as the {n}", "{n} = {v}",
)  # fmt: skip


def argument(random: Random) -> Argument:
    """A parameter of any type, with a value and the phrase that says it."""
    makers = (_semantic, _count, _enumeration, _flag, _items, _made_up)
    (maker,) = random.choices(makers, (46, 12, 13, 8, 6, 15))
    return maker(random)


def spoken(name: str) -> str:
    """A parameter's name as a request says it."""
    return name.replace("_", " ")


def _said(random: Random, name: str, value: Any, frames: tuple[str, ...]) -> str:
    return random.choice(frames).format(v=value, n=spoken(name))


def _semantic(random: Random) -> Argument:
    kind = random.choice(_KINDS)
    name, value = random.choice(kind.names), kind.make(random)
    frames = (*kind.frames, *kind.frames, *_GENERAL[:4])
    return Argument(name, dict(kind.schema), value, _said(random, name, value, frames))


def _count(random: Random) -> Argument:
    name = random.choice(words.COUNTS) if random.random() < 0.7 else words.made_up(random)
    value = integer(random)
    frames = ("{v} {n}", "for {v} {n}", "with {v} {n}", *_GENERAL[:4])
    return Argument(name, {"type": "integer"}, value, _said(random, name, value, frames))


def _enumeration(random: Random) -> Argument:
    if random.random() < 0.6:
        name = random.choice(list(words.ENUMS))
        options = list(words.ENUMS[name])
    else:
        name = words.made_up(random)
        options = [words.made_up(random, 1, 3) for _ in range(random.randint(2, 4))]
    options = list(dict.fromkeys(options))
    random.shuffle(options)
    value = random.choice(options)
    frames = ("{v} {n}", "in {v} {n}", "{n} {v}", "with {v}", "use {v}", "{v}", "with {n} {v}")
    schema = {"type": "string", "enum": options}
    return Argument(name, schema, value, _said(random, name, value, frames))


def _flag(random: Random) -> Argument:
    name = random.choice(words.BOOLEANS) if random.random() < 0.7 else words.made_up(random)
    value = random.random() < 0.6
    on = ("make it {n}", "with {n}", "{n} please", "{n} on")
    off = ("not {n}", "without {n}", "no {n}", "{n} off")
    said = _said(random, name, value, on if value else off)
    return Argument(name, {"type": "boolean"}, value, said)


def _items(random: Random) -> Argument:
    usual = random.random() < 0.6
    name = random.choice(("tags", "items", "names", "topics")) if usual else words.made_up(random)
    value = [
        words.made_up(random, 1, 2) if random.random() < 0.4 else random.choice(words.THINGS)
        for _ in range(random.randint(1, 3))
    ]
    said = value[0] if len(value) == 1 else ", ".join(value[:-1]) + " and " + value[-1]
    schema = {"type": "array", "items": {"type": "string"}}
    return Argument(name, schema, value, f"with {spoken(name)} {said}")


def _made_up(random: Random) -> Argument:
    name = words.made_up(random)
    if random.random() < 0.3:
        name += f"_{random.choice(words.NOUNS)}"
    value = random.choice((phrase, city, reference, person))(random)
    return Argument(name, {"type": "string"}, value, _said(random, name, value, _GENERAL))
