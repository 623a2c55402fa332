"""Declarations: a tool of the corpus as an API would offer it.

Knows the tools of the domain files and how names are spelled. Must not know requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from agentkit_engine.training.corpus.described import Argument, Tool, held_name
from agentkit_engine.training.corpus.kinds import KINDS, Kind, flag, integers, one_of
from agentkit_engine.training.corpus.lexicon import coined
from agentkit_engine.training.corpus.wording import Style, key, tool_name

# parameters that many APIs have and no request speaks of
_UNSAID: tuple[tuple[str, str, Kind], ...] = (
    ("limit", "Maximum number of results", integers(1, 100)),
    ("page", "Page of the results", integers(1, 20)),
    ("verbose", "Whether to give more details", flag("in detail", "briefly")),
    ("dry run", "Only say what would be done", flag("as a trial", "for real")),
    ("timeout", "Seconds to wait at most", integers(1, 120)),
    ("format", "Format of the output", one_of([("json", ()), ("text", ()), ("table", ())])),
    ("language", "Language of the reply", KINDS["language_code"]),
    ("api key", "Key of the service", KINDS["id"]),
    ("user id", "Who asks", KINDS["id"]),
    ("callback url", "Called when it is done", KINDS["url"]),
    ("precision", "Decimals of the result", integers(0, 10)),
    ("sort", "Order of the results", one_of([("asc", ()), ("desc", ())])),
)
_TAILS = ("", "", "", "", " Optional.", " Not required.", " If omitted, the usual one is taken.")


@dataclass(frozen=True)
class Declared:
    """A tool as one conversation declares it.

    Attributes:
        keys: handle -> the property's name.
        words: handle -> that name in words.
        declaration: in the form that chat templates take.
    """

    tool: Tool
    style: Style
    keys: Mapping[str, str]
    words: Mapping[str, str]
    declaration: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.declaration["function"]["name"])

    @cached_property
    def schema(self) -> dict[str, Any]:
        return dict(self.declaration["function"]["parameters"])


def declare(random: Random, tool: Tool, spelled: Style, *, opaque: bool = False) -> Declared:
    """One of the many ways in which an API may offer the tool.

    Args:
        opaque: its name means nothing; only what is said of it tells what it is for.
    """
    # a synonym with a held-out noun is not for training
    names = [name for name in tool.names if tool.held or not held_name(name)]
    if opaque:
        names = [" ".join(coined(random) for _ in range(random.choice((1, 1, 2))))]
    name = tool_name(random, spelled, random.choice(names), tool.domain)
    keys: dict[str, tuple[str, str]] = {}
    plain = random.random() < 0.1  # nothing is described
    schema = _object(random, tool.arguments, spelled, keys, plain=plain)
    _add_unsaid(random, schema, spelled, plain=plain)
    untold = random.random() < 0.05 and not opaque
    description = "" if untold else random.choice(tool.descriptions)
    function = {"name": name, "description": description, "parameters": schema}
    return Declared(
        tool,
        spelled,
        {handle: written for handle, (written, _) in keys.items()},
        {handle: words for handle, (_, words) in keys.items()},
        {"type": "function", "function": function},
    )


def _object(
    random: Random, arguments: Sequence[Argument], spelled: Style, keys: dict[str, tuple[str, str]],
    *, plain: bool, above: str = "",
) -> dict[str, Any]:  # fmt: skip
    properties: dict[str, Any] = {}
    required: list[str] = []
    for argument in arguments:
        named = random.choice(argument.names)
        written = key(spelled, named)
        while written in properties:
            written = key(spelled, argument.names[0]) + str(len(properties))
        handle = f"{above}{argument.names[0]}"
        keys[handle] = written, named
        if argument.kind is None:
            inside = f"{handle}."
            made = _object(random, argument.members, spelled, keys, plain=plain, above=inside)
        else:
            made = dict(argument.kind.schema(random))
        if argument.descriptions and not plain and random.random() < 0.9:
            tail = "" if argument.required else random.choice(_TAILS)
            made["description"] = random.choice(argument.descriptions) + tail
        properties[written] = made
        if argument.required:
            required.append(written)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    if random.random() < 0.5:
        schema["additionalProperties"] = False
    return schema


def _add_unsaid(random: Random, schema: dict[str, Any], spelled: Style, *, plain: bool) -> None:
    if random.random() > 0.15:
        return
    for name, description, kind in random.sample(_UNSAID, random.choice((1, 1, 2))):
        about = {} if plain else {"description": description}
        schema["properties"].setdefault(key(spelled, name), {**kind.schema(random), **about})
