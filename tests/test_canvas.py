"""Canvases: where literals and slots lie, how wide slots are, and pouring values into them."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit_engine.errors import TemplateError
from agentkit_engine.layouts.canvas import lay_out, pour, slot_width
from agentkit_engine.syntax import GEMMA, JSON, Syntax
from agentkit_engine.template import Hole, Path, outline

FILLER, ABSENT = 300, 301
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
    "required": ["a"],
}


def encode(surface: bytes) -> list[int]:
    """A token a byte."""
    return list(surface)


def hole(schema: dict[str, Any], *, content_only: bool = False) -> Hole:
    return Hole((), schema, "", content_only=content_only)


def width(schema: dict[str, Any], *, syntax: Syntax = JSON, content_only: bool = False) -> int:
    slot = hole(schema, content_only=content_only)
    return slot_width(slot, syntax=syntax, encode=encode, string_width=16)


def poured(values: dict[Path, Any], widths: int = 4) -> list[int]:
    canvas = lay_out(outline(SCHEMA, JSON), encode=encode, width_of=lambda _: widths, filler=FILLER)
    return list(pour(canvas, values, syntax=JSON, encode=encode, filler=FILLER, absent=ABSENT))


def test_slots_lie_between_their_literals() -> None:
    canvas = lay_out(
        outline(SCHEMA, JSON),
        encode=encode,
        width_of=lambda _: 3,
        filler=FILLER,
        opening=[7],
        closing=[8, 9],
    )
    assert bytes(t if t < 256 else 46 for t in canvas.tokens) == b'\x07{"a":"...","b":...}\x08\x09'
    assert [slot.hole.path for slot in canvas.slots] == [("a",), ("b",)]
    free = canvas.free()
    assert [i for i, flag in enumerate(free) if flag] == [7, 8, 9, 16, 17, 18]
    assert all(canvas.tokens[i] == FILLER for i, flag in enumerate(free) if flag)


def test_values_are_left_aligned_and_padded_with_filler() -> None:
    row = poured({("a",): "xy", ("b",): 12})
    assert row[6:10] == [*b"xy", FILLER, FILLER]
    assert row[16:20] == [*b"12", FILLER, FILLER]


def test_an_absent_key_has_its_marker() -> None:
    assert poured({("a",): "xy"})[16:20] == [ABSENT, FILLER, FILLER, FILLER]


def test_a_required_value_must_be_there() -> None:
    with pytest.raises(TemplateError, match="must not be absent"):
        poured({("b",): 1})


def test_a_value_longer_than_its_slot_is_an_error() -> None:
    with pytest.raises(TemplateError, match="takes 5 tokens, its slot has 4"):
        poured({("a",): "abcde"})


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "boolean"}, 5),
        ({"enum": ["a", "abc"]}, 5),
        ({"const": 1234}, 4),
        ({"type": "integer", "minimum": -10, "maximum": 100}, 3),
        ({"type": "string", "maxLength": 3}, 5),
        ({"type": "string", "format": "date"}, 12),
        ({"type": "string"}, 18),
    ],
)
def test_widths_follow_the_schema(schema: dict[str, Any], expected: int) -> None:
    assert width(schema) == expected


def test_quotes_outside_a_slot_take_no_room_in_it() -> None:
    assert width({"type": "string"}, content_only=True) == 16
    assert width({"type": "string", "enum": ["a", "abc"]}, syntax=GEMMA, content_only=True) == 3
