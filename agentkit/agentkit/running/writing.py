"""Writes what tools return and raise as text that a model reads.

Knows values and exceptions; must not know tools or runs.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from itertools import islice
from typing import Any, cast

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from agentkit.running.threads import in_thread

_MAX_REASON = 1000  # characters of an error that a model gets to read
_MAX_PROBLEMS = 5
_MAX_ITEMS = 100_000  # of a generator, which may be endless
_SMALL = 200  # values that are written faster than a thread is started


class Unwritable(Exception):
    """A value can't be written as JSON; says why and the mend."""


async def written(value: Any) -> str:
    """A tool's result as a model reads it; what is large is written in a thread.

    Raises:
        Unwritable: it can't be written as JSON.
    """
    if _left(value, _SMALL) > 0:
        return to_text(value)
    return await in_thread(to_text, value)


def to_text(value: Any) -> str:
    """A tool's result as a model reads it: a string as it is, anything else as compact JSON.

    Raises:
        Unwritable: it can't be written as JSON.
    """
    try:
        text = value if isinstance(value, str) else _json(_taken(value))
        text.encode()  # lone surrogates would break every later step
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise Unwritable(
            f"The tool ran, but its result, of type {type(value).__name__!r}, can't be written "
            f"as JSON: {told(error)}. It should return text, numbers, lists or dicts."
        ) from error
    return text


def cut(text: str, limit: int | None) -> str:
    """A result of at most `limit` characters, and a note where there was more."""
    if limit is None or len(text) <= limit:
        return text
    return (
        f"{text[:limit]}\n[Cut: these are the first {limit:,} of {len(text):,} characters. Ask for "
        "less at once to see the rest.]"
    )


def as_json(value: Any) -> str:
    """Anything as JSON, the same for equal values; what is no JSON, as Python writes it."""
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=repr)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, a cycle
        return repr(value)


def told(error: BaseException) -> str:
    """An exception in a line, as a model reads it."""
    name = type(error).__name__
    try:
        text = str(error).strip().rstrip(".")
    except Exception:  # whoever wrote it has the words, and they broke too
        text = "and its own message can't be read"
    return shortened(f"{name}: {text}" if text else name, _MAX_REASON)


def listed(problems: Mapping[str, str]) -> str:
    """Problems in one line, the first few of them."""
    lines = [f"{pointer or 'arguments'}: {why}" for pointer, why in problems.items()]
    if len(lines) > _MAX_PROBLEMS:
        lines[_MAX_PROBLEMS:] = [f"and {len(lines) - _MAX_PROBLEMS} more"]
    return "; ".join(lines)


def shortened(text: str, limit: int) -> str:
    """A text of at most `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _taken(value: Any) -> Any:
    """A generator's items, so long as it comes to an end."""
    if not isinstance(value, Generator):
        return value
    items = list(islice(cast(Generator[Any], value), _MAX_ITEMS + 1))
    if len(items) > _MAX_ITEMS:
        raise ValueError(f"it is a generator that gives more than {_MAX_ITEMS:,} items")
    return items


def _json(value: Any) -> str:
    text = to_json(value).decode()
    if "NaN" not in text and "Infinity" not in text:
        return text
    # perhaps only within a string; if not, it is no JSON
    return json.dumps(
        to_jsonable_python(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )


def _left(value: Any, budget: int) -> int:
    """What is left of a budget of values, of which each 100 characters of text count as one."""
    kind = cast(type[object], type(value))
    if kind is str:
        return budget - 1 - len(value) // 100
    if value is None or kind in {int, float, bool}:
        return budget - 1
    if kind not in {dict, list, tuple} or len(value) >= budget:
        return 0  # who knows how large a model or a generator is
    for item in value.values() if kind is dict else value:
        budget = _left(item, budget - 1)
        if budget <= 0:
            return 0
    return budget
