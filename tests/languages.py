"""Judging values, and schemas to judge them by, for the grammar's tests."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

from agentkit_engine.grammar import ByteAutomaton
from agentkit_engine.grammar.sampling import distances, random_text


def valid(schema: Any, value: Any) -> bool:
    checked = validator_for(schema, default=Draft202012Validator)
    return bool(checked(schema, format_checker=checked.FORMAT_CHECKER).is_valid(value))


def sample(automaton: ByteAutomaton, chance: random.Random, *, turns: int = 40) -> bytes:
    """A random text of the language: `turns` random bytes, then the shortest way out."""
    return random_text(automaton, distances(automaton), chance, turns=turns)


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
