"""Whether the calls that were made are those that were expected: as JSON, or by what they mean.

The second is what the Berkeley Function-Calling Leaderboard calls an AST match: it forgives how a
string is written and what a default says anyway. Calls that are made at once have no order. Knows
JSON values and schemas. Must not know engines, nor where calls come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_WORDS = re.compile(r"[^\W_]+")
_TOKENS = re.compile(r"-?\d+(?:\.\d+)?|[^\W\d_]+")
# "Default is 5", "(defaults to 'metric')", "default: true"
_TOLD = re.compile(
    r"\bdefault(?:s|ed|ing)?\b(?:\s+(?:value|set|is|to|as|of|will|be|being|it)\b|\s*[:=])*\s*",
    re.IGNORECASE,
)
_BY_DEFAULT = re.compile(r"\bby\s+default\b", re.IGNORECASE)
_EMPTY = re.compile(r"''|\"\"|(?:an\s+)?empty", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Called:
    """A call, whoever made it: `arguments` is a JSON value."""

    name: str
    arguments: Any


def same_calls(made: Sequence[Called], expected: Sequence[Called]) -> bool:
    """Whether each expected call was made, and no other, with arguments that are equal as JSON."""
    return _paired(
        made, expected, lambda a, b: a.name == b.name and same_json(a.arguments, b.arguments)
    )


def alike_calls(
    made: Sequence[Called], expected: Sequence[Called], schemas: Mapping[str, Any]
) -> bool:
    """Whether each expected call was made, and no other, with arguments that mean the same.

    Args:
        schemas: name -> schema of the arguments.
    """
    return _paired(
        made,
        expected,
        lambda a, b: a.name == b.name and alike(a.arguments, b.arguments, schemas.get(a.name)),
    )


def same_json(one: Any, other: Any) -> bool:
    """Equality of JSON values: 1 is 1.0, but not true, as it is to Python."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)


def alike(made: Any, expected: Any, schema: Any = None) -> bool:
    """Whether two values mean the same.

    Strings by their letters and digits, numbers by their value, lists item by item; of objects
    every required member, and every optional one, where it may be absent on one side if the other
    says its default.

    Args:
        schema: of the values; what it doesn't tell is an optional member without a default.
    """
    about: Mapping[str, Any] = schema if isinstance(schema, Mapping) else {}
    if isinstance(made, dict) and isinstance(expected, dict):
        return _alike_members(made, expected, about)
    if isinstance(made, list) and isinstance(expected, list):
        items = about.get("items")
        return len(made) == len(expected) and all(
            alike(one, other, items) for one, other in zip(made, expected, strict=True)
        )
    if isinstance(made, str) and isinstance(expected, str):
        return _plain(made) == _plain(expected)
    return same_json(made, expected)


def is_default(value: Any, schema: Any) -> bool:
    """Whether leaving `value` out says the same: by the schema's `default`, or its description."""
    if not isinstance(schema, Mapping):
        return False
    about: Mapping[str, Any] = schema
    if "default" in about and alike(value, about["default"], about):
        return True
    told = about.get("description")
    return isinstance(told, str) and _told_as_default(value, told)


def _alike_members(
    made: Mapping[str, Any], expected: Mapping[str, Any], schema: Mapping[str, Any]
) -> bool:
    properties, required = schema.get("properties") or {}, schema.get("required") or ()
    for key in made.keys() | expected.keys():
        about = properties.get(key)
        if key in made and key in expected:
            if not alike(made[key], expected[key], about):
                return False
        elif key in required or not is_default(made.get(key, expected.get(key)), about):
            return False
    return True


def _told_as_default(value: Any, description: str) -> bool:
    if value == "":
        return any(_EMPTY.match(description, found.end()) for found in _TOLD.finditer(description))
    wanted = _tokens_of(value)
    if not wanted:
        return False
    for found in _TOLD.finditer(description):
        if _tokens(description[found.end() :])[: len(wanted)] == wanted:
            return True
    for found in _BY_DEFAULT.finditer(description):
        if _tokens(description[: found.start()])[-len(wanted) :] == wanted:
            return True
    return False


def _tokens_of(value: Any) -> list[str | float]:
    """What a description would say of a value; nothing for an object."""
    if isinstance(value, bool) or value is None:
        return [{True: "true", False: "false", None: "none"}[value]]
    if isinstance(value, (int, float)):
        return [float(value)]
    if isinstance(value, list):
        return [token for item in value for token in _tokens_of(item)]
    return _tokens(value) if isinstance(value, str) else []


def _tokens(text: str) -> list[str | float]:
    """Words and numbers; null is None by another name."""
    found: list[str | float] = []
    for token in _TOKENS.findall(text.casefold()):
        word = "none" if token == "null" else token
        found.append(float(token) if token[-1].isdecimal() else word)
    return found


def _plain(text: str) -> str:
    """Letters and digits alone; of a text that has none, what it is."""
    return "".join(_WORDS.findall(text.casefold())) or text.strip()


def _paired(
    made: Sequence[Called],
    expected: Sequence[Called],
    fits: Callable[[Called, Called], bool],
) -> bool:
    """Whether the two can be paired off so that each pair fits."""
    if len(made) != len(expected):
        return False
    if not made:
        return True
    first, *rest = made
    return any(
        fits(first, other) and _paired(rest, [*expected[:place], *expected[place + 1 :]], fits)
        for place, other in enumerate(expected)
    )
