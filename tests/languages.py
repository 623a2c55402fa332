"""Judging and sampling languages, for the grammar's tests."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agentkit_engine.grammar import ByteAutomaton


def valid(schema: Any, value: Any) -> bool:
    checker = Draft202012Validator.FORMAT_CHECKER
    return bool(Draft202012Validator(schema, format_checker=checker).is_valid(value))


def sample(automaton: ByteAutomaton, chance: random.Random, *, turns: int = 40) -> bytes:
    """A random text of the language: `turns` random bytes, then the shortest way out."""
    ahead = distances(automaton)
    state, text = 0, bytearray()
    while not (automaton.accepting[state] and (len(text) >= turns or chance.random() < 0.3)):
        row = automaton.table[state, automaton.class_of].tolist()
        ways = [(byte, to) for byte, to in enumerate(row) if to >= 0]
        if not ways:
            break
        byte, to = chance.choice(ways)
        if len(text) >= turns:
            _, byte, to = min((ahead[to], byte, to) for byte, to in ways)
        text.append(byte)
        state = to
    return bytes(text)


def distances(automaton: ByteAutomaton) -> list[int]:
    """Bytes from each state to acceptance."""
    before: dict[int, list[int]] = {}
    for state, row in enumerate(automaton.table.tolist()):
        for to in row:
            before.setdefault(to, []).append(state)
    ahead = {state: 0 for state in range(automaton.states) if automaton.accepting[state]}
    queue = list(ahead)
    for state in queue:
        for source in before.get(state, []):
            if source not in ahead:
                ahead[source] = ahead[state] + 1
                queue.append(source)
    return [ahead[state] for state in range(automaton.states)]


@st.composite
def leaf_schemas(draw: st.DrawFn) -> dict[str, Any]:
    """Schemas without schemas in them."""
    low, more = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    listed = st.sampled_from(["a", "ab", 'q"', 1, None, 2.5, [1]])
    return draw(
        st.sampled_from(
            [
                {},
                {"type": "boolean"},
                {"type": ["null", "integer"]},
                {"type": "string", "minLength": low, "maxLength": low + more},
                {"type": "string", "pattern": "^[a-é]+$"},
                {"type": "string", "format": "ipv4"},
                {"type": "integer", "minimum": low - 2, "maximum": low + more},
                {"type": "integer", "multipleOf": low + 1},
                {"type": "number", "exclusiveMinimum": low / 4, "maximum": low + more + 0.5},
                {"enum": draw(st.lists(listed, min_size=1))},
            ]
        )
    )


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    """Schemas of supported keywords, nested up to a few levels."""

    @st.composite
    def inside(draw: st.DrawFn, inner: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
        low, more = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        names = st.sampled_from(["a", "b c", "é", "d_1"])
        properties = draw(st.dictionaries(names, inner, max_size=3))
        return draw(
            st.sampled_from(
                [
                    {
                        "type": "array",
                        "items": draw(inner),
                        "minItems": low,
                        "maxItems": low + more,
                    },
                    {"anyOf": draw(st.lists(inner, min_size=1, max_size=3))},
                    {
                        "type": "object",
                        "properties": properties,
                        "required": sorted(draw(st.sets(names)) & set(properties)),
                        "additionalProperties": False,
                    },
                ]
            )
        )

    return st.recursive(leaf_schemas(), lambda inner: inside(inner), max_leaves=4)
