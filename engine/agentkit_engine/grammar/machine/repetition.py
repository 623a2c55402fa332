"""Whether a text repeats what must come once: a key of an object, or an item of an array.

Knows texts and automata. Must not know schemas. No finite automaton can tell all texts apart, so
this is asked of a text that the moves already let through.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from agentkit_engine.errors import TemplateError
from agentkit_engine.grammar.machine.automaton import ByteAutomaton
from agentkit_engine.syntax import Syntax

__all__ = ["identity", "repeats_itself"]


def repeats_itself(syntax: Syntax, automaton: Callable[[], ByteAutomaton], text: bytes) -> bool:
    """Whether an object repeats a key, or an array whose items must differ an item.

    automaton: gives the automaton that let the text through; only asked if some array repeats.
    """
    suspects: list[int] = []

    def note(start: int, items: list[Any]) -> None:
        if len({identity(item) for item in items}) < len(items):
            suspects.append(start)

    try:
        syntax.loads(text, on_array=note)
    except TemplateError:
        return True
    return bool(suspects) and _in_unique_array(automaton(), text, suspects)


def _in_unique_array(automaton: ByteAutomaton, text: bytes, starts: list[int]) -> bool:
    state, wanted = automaton.start, set(starts)
    for place, byte in enumerate(text[: max(starts)], 1):
        state = automaton.step(state, byte)
        if place in wanted and state in automaton.unique:
            return True
    return False


def identity(value: Any) -> str:
    """Equal for values that JSON Schema calls equal: 1 and 1.0 are, 1 and true are not."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[str, Any]", value).items()}
    return value
