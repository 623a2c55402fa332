"""Templates: literals and holes of a schema, and what is refused before any token is seen."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from agentkit_engine.contexts.prompt import inline
from agentkit_engine.errors import TemplateError, UnsupportedSchema
from agentkit_engine.syntax import GEMMA, JSON
from agentkit_engine.template import (
    Hole,
    Template,
    Text,
    json_pointer,
    outline,
    resolve,
    skeleton,
)

BOOKING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "guest": {"$ref": "#/$defs/guest"},
        "kind": {"const": "hotel"},
        "note": {"type": "string"},
    },
    "required": ["city", "guest", "kind"],
    "$defs": {
        "guest": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name"],
        }
    },
}


def written(schema: dict[str, Any], syntax: Any = JSON) -> str:
    """The outline with holes as <path>."""
    parts = (
        part.content.replace(b"\xff", b"'").decode()
        if isinstance(part, Text)
        else f"<{json_pointer(part.path)}{'?' if part.optional else ''}>"
        for part in outline(schema, syntax)
    )
    return "".join(parts)


def test_required_records_are_opened_and_the_rest_are_holes() -> None:
    assert written(BOOKING) == (
        '{"city":"</city>","guest":{"name":"</guest/name>","age":</guest/age?>},'
        '"kind":"hotel","note":"</note?>"}'
    )


def test_the_same_outline_in_gemmas_syntax() -> None:
    assert written(BOOKING, GEMMA) == (
        "{city:'</city>',guest:{name:'</guest/name>',age:</guest/age?>},kind:'hotel',note:'</note?>'}"
    )


def test_neighbouring_literals_are_one() -> None:
    segments = outline(BOOKING, JSON)
    kinds = [isinstance(segment, Text) for segment in segments]
    assert all(left != right for left, right in itertools.pairwise(kinds))


def test_a_hole_knows_where_its_schema_lies() -> None:
    holes = {h.path: h.pointer for h in outline(BOOKING, JSON) if isinstance(h, Hole)}
    assert holes[("city",)] == "/properties/city"
    assert holes[("guest", "name")] == "/$defs/guest/properties/name"


def test_what_may_have_several_shapes_is_one_hole() -> None:
    assert written({"anyOf": [{"type": "string"}, {"type": "null"}]}) == "<>"
    assert written({"type": "array", "items": {"type": "string"}}) == "<>"
    assert written({"type": "integer", "const": "seven"}) == "<>"


def test_an_object_without_properties_is_written_out() -> None:
    assert written({"type": "object"}) == "{}"


def test_the_skeleton_holds_the_constants() -> None:
    assert skeleton(BOOKING) == {
        "city": None,
        "guest": {"name": None, "age": None},
        "kind": "hotel",
        "note": None,
    }


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("#/$defs/nobody", "leads nowhere"),
        ("https://example.com/schema", "outside the document"),
        ("#/$defs/loop", "circle"),
    ],
)
def test_references_that_lead_nowhere_are_named(reference: str, reason: str) -> None:
    root = {"$defs": {"loop": {"$ref": "#/$defs/loop"}}}
    with pytest.raises(UnsupportedSchema, match=reason) as caught:
        resolve({"$ref": reference}, root, "/properties/x")
    assert caught.value.keyword == "$ref"


def test_inline_writes_references_out_and_hides_definitions() -> None:
    found = inline(BOOKING)
    assert found["properties"]["guest"]["properties"]["name"] == {"type": "string"}
    assert "$defs" not in found


def test_inline_stops_in_a_recursive_schema() -> None:
    tree = {
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        "$ref": "#/$defs/node",
    }
    assert inline(tree)["properties"]["next"]["type"] == "object"


@pytest.mark.parametrize("options", [[], [""], "abc", [1, 2]])
def test_a_choice_needs_options(options: Any) -> None:
    with pytest.raises(TemplateError, match="non-empty strings"):
        Template.choice(options)


def test_a_schema_is_an_object_a_boolean_or_a_type() -> None:
    with pytest.raises(TemplateError, match="no schema and no type"):
        Template.json_schema("string")
    assert Template.json_schema(list[int]).schema == {"type": "array", "items": {"type": "integer"}}


def test_text_needs_room() -> None:
    with pytest.raises(TemplateError, match="at least 1 token"):
        Template.text(0)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": []},
        {"type": "object", "properties": {}, "required": "a"},
        {"type": "object", "properties": {"a": {}}, "required": [["a"]]},
        {"type": "object", "required": ["a"]},
    ],
)
def test_what_is_no_plain_record_is_left_to_the_grammar(schema: dict[str, Any]) -> None:
    (segment,) = outline(schema, JSON)
    assert isinstance(segment, Hole)
