"""Refilling: rejected values become others in one forward, and all else stays as it is."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import jsonschema
import pytest
from choosing import decided
from fillings import counted

from agentkit_engine import Engine, Template, TemplateError
from agentkit_engine.errors import UnsatisfiableSchema
from agentkit_engine.lattice import Bias
from agentkit_engine.layouts.maker import Layout

LAYOUTS: tuple[Layout, ...] = ("slots", "float")
WORD, NUMBER = {"type": "string", "maxLength": 3}, {"type": "integer", "minimum": 1, "maximum": 99}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": WORD,
        "days": NUMBER,
        "unit": {"enum": ["c", "f"]},
        "at": {
            "type": "object",
            "properties": {"x": NUMBER, "y/z": NUMBER},
            "required": ["x", "y/z"],
        },
    },
    "required": ["city", "days", "unit", "at"],
}


def taken_out(value: Any, pointer: str) -> tuple[Any, Any]:
    """What lies at a pointer, and all but that; `...` where there is nothing."""
    rest = deepcopy(value)
    inner = rest
    *path, last = [p.replace("~1", "/").replace("~0", "~") for p in pointer.split("/")[1:]]
    for part in path:
        inner = inner[part]
    return inner.pop(last, ...), rest


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pointer", ["/city", "/days", "/unit", "/at/x", "/at/y~1z"])
def test_the_rejected_value_differs_and_its_neighbours_stay(
    engine: Engine, layout: Layout, pointer: str
) -> None:
    for prompt in ("hello", "is it warm?", "9 9 9"):
        session = engine.session()
        session.extend_sync(prompt)
        first = session.infill_sync(Template.json_schema(SCHEMA), verify="off", layout=layout)
        with counted(engine) as seen:
            again = session.refill_sync(first, [pointer], layout=layout)
        assert (len(seen), again.forwards, again.passes) == (1, 1, 0)
        jsonschema.validate(again.value, SCHEMA)
        old, rest = taken_out(first.value, pointer)
        new, others = taken_out(again.value, pointer)
        assert new != old
        assert others == rest
        assert list(again.value) == [key for key in SCHEMA["properties"] if key in again.value]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_several_values_are_refilled_in_one_forward(engine: Engine, layout: Layout) -> None:
    session = engine.session()
    session.extend_sync("hello")
    first = session.infill_sync(Template.json_schema(SCHEMA), layout=layout)
    rejected = ["/city", "/at/x", "/unit"]
    again = session.refill_sync(first, rejected, layout=layout)
    assert again.forwards == 1
    jsonschema.validate(again.value, SCHEMA)
    old, new = first.value, again.value
    for pointer in rejected:
        before, old = taken_out(old, pointer)
        after, new = taken_out(new, pointer)
        assert before != after
    assert new == old


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_absent_key_that_is_rejected_comes(engine: Engine, layout: Layout) -> None:
    """Each of all-optional keys, whether it was there or not."""
    names = ("a", "b", "c", "d")
    schema = {"type": "object", "properties": {name: {"enum": [1, 2]} for name in names}}
    absent = engine.runtime.checkpoint.tokens.absent
    assert absent is not None
    met = 0
    for short in (Bias(), Bias(length=-9.0, preferred={absent: 30.0})):
        session = engine.session()
        session.extend_sync("hello")
        template = Template.json_schema(schema)
        first = session.infill_sync(template, verify="off", layout=layout, bias=short)
        for name in names:
            again = session.refill_sync(first, [f"/{name}"], layout=layout)
            jsonschema.validate(again.value, schema)
            old, rest = taken_out(first.value, f"/{name}")
            new, others = taken_out(again.value, f"/{name}")
            assert new != old
            assert others == rest
            if old is ...:
                met += 1
                assert new in (1, 2)
    assert met


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_last_value_left_is_taken_and_then_there_is_none(
    engine: Engine, layout: Layout
) -> None:
    session = engine.session()
    session.extend_sync("hello")
    two = {"type": "object", "properties": {"a": {"enum": ["x", "yy"]}}, "required": ["a"]}
    first = session.infill_sync(Template.json_schema(two), layout=layout)
    again = session.refill_sync(first, ["/a"], layout=layout)
    assert {first.value["a"], again.value["a"]} == {"x", "yy"}
    one = {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"]}
    only = session.infill_sync(Template.json_schema(one), layout=layout)
    with counted(engine) as seen, pytest.raises(UnsatisfiableSchema):
        session.refill_sync(only, ["/a"], layout=layout)
    assert seen == []


def test_an_unknown_pointer_is_named_with_those_there_are(engine: Engine) -> None:
    session = engine.session()
    session.extend_sync("hello")
    filled = session.infill_sync(Template.json_schema(SCHEMA), layout="slots")
    with pytest.raises(TemplateError, match=r"'/town'.*'/city', '/days', '/unit', '/at/x'"):
        session.refill_sync(filled, ["/town"])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pointer", ["/town", "/city/0", "/days/x", "/at/x/y", "/at/q", "town"])
def test_a_pointer_to_nothing_is_refused_before_a_forward(
    engine: Engine, layout: Layout, pointer: str
) -> None:
    session = engine.session()
    session.extend_sync("hello")
    filled = session.infill_sync(Template.json_schema(SCHEMA), layout=layout)
    with counted(engine) as seen, pytest.raises(TemplateError):
        session.refill_sync(filled, [pointer], layout=layout)
    assert seen == []


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "template",
    [Template.text(5), Template.choice(["tea", "team", "ten"]), Template.regex("[ab]{2,4}c?")],
)
def test_what_is_no_schema_is_refilled_as_a_whole(
    engine: Engine, layout: Layout, template: Template
) -> None:
    session = engine.session()
    session.extend_sync("hello")
    first = session.infill_sync(template, layout=layout)
    with counted(engine) as seen:
        again = session.refill_sync(first, [""], layout=layout)
    assert len(seen) == 1
    assert again.value != first.value
    assert again.text


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_choice_of_one_leaves_nothing(engine: Engine, layout: Layout) -> None:
    session = engine.session()
    session.extend_sync("hello")
    only = session.infill_sync(Template.choice(["tea"]), layout=layout)
    with pytest.raises(TemplateError):
        session.refill_sync(only, [""], layout=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("chosen", [[0], [1], [0, 1]])
def test_a_call_that_was_decided_on_is_refilled(
    engine: Engine, layout: Layout, chosen: list[int]
) -> None:
    small = {"type": "object", "properties": {"days": NUMBER, "n": NUMBER}, "required": ["days"]}
    calls: dict[str, Any] = {"rain": small, "list": small}
    turns = [chosen] if layout == "slots" else [[number] for number in chosen]
    decision = decided(engine, calls, turns, most=len(chosen), layout=layout, verify="off")
    session = engine.session()
    session.extend_sync("hello")
    assert len(decision.calls) == len(chosen)
    for call in decision.calls:
        again = session.refill_sync(call, ["/days"], layout=layout)
        old, rest = taken_out(call.arguments, "/days")
        new, others = taken_out(again.value, "/days")
        assert new != old
        assert others == rest
        jsonschema.validate(again.value, small)


TREE: dict[str, Any] = {
    "type": "object",
    "properties": {"n": NUMBER, "child": {"$ref": "#"}},
    "required": ["n"],
}
SHARED = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$ref": "#/definitions/pair",
    "definitions": {
        "n": NUMBER,
        "pair": {
            "type": "object",
            "properties": {"a": {"$ref": "#/definitions/n"}, "b": {"$ref": "#/definitions/n"}},
            "required": ["a", "b"],
        },
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("schema", "pointer"), [(TREE, "/n"), (SHARED, "/a"), (SHARED, "/b")])
def test_references_are_followed(engine: Engine, layout: Layout, schema: Any, pointer: str) -> None:
    session = engine.session()
    session.extend_sync("hello")
    first = session.infill_sync(Template.json_schema(schema), layout=layout)
    again = session.refill_sync(first, [pointer], layout=layout)
    old, rest = taken_out(first.value, pointer)
    new, others = taken_out(again.value, pointer)
    assert new != old
    assert others == rest
    jsonschema.validate(again.value, schema)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("draft", ["draft-07/schema#", "draft/2019-09/schema", ""])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_item_is_refilled_and_those_beside_it_stay(
    engine: Engine, layout: Layout, draft: str, place: int
) -> None:
    scheme = "https" if "2019" in draft else "http"
    schema: dict[str, Any] = {
        **({"$schema": f"{scheme}://json-schema.org/{draft}"} if draft else {}),
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "maxItems": 3}
        },
        "required": ["list"],
    }
    session = engine.session()
    session.extend_sync("hello")
    first = session.infill_sync(Template.json_schema(schema), layout=layout)
    again = session.refill_sync(first, [f"/list/{place}"], layout=layout)
    assert again.forwards == 1
    for k, (old, new) in enumerate(zip(first.value["list"], again.value["list"], strict=True)):
        assert (old != new) == (k == place)
    with pytest.raises(TemplateError, match=r"no value was filled in at '(/list)?/3'"):
        session.refill_sync(first, ["/list/3"], layout=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_rejected_before_does_not_come_back(engine: Engine, layout: Layout) -> None:
    session = engine.session()
    session.extend_sync("hello")
    schema = {
        "type": "object",
        "properties": {"pick": {"enum": [1, "a", None, True]}, "days": NUMBER},
        "required": ["pick", "days"],
    }
    filling = session.infill_sync(Template.json_schema(schema), layout=layout)
    seen, days = [filling.value["pick"]], filling.value["days"]
    for turn in range(3):
        if turn == 1:  # another value in between changes nothing about it
            filling = session.refill_sync(filling, ["/days"])
            assert filling.value["days"] != days
            days = filling.value["days"]
        filling = session.refill_sync(filling, ["/pick"])
        assert filling.value["days"] == days
        seen.append(filling.value["pick"])
    assert {repr(value) for value in seen} == {"1", "'a'", "None", "True"}
    with pytest.raises(UnsatisfiableSchema, match="rejected"):
        session.refill_sync(filling, ["/pick"])
    with pytest.raises(TemplateError, match="nothing was rejected"):
        session.refill_sync(filling, [])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_neither_does_absence_nor_what_was_there_before_it(engine: Engine, layout: Layout) -> None:
    schema = {"type": "object", "properties": {"pick": {"enum": [1, "a", None]}}}
    absent = engine.runtime.checkpoint.tokens.absent
    assert absent is not None
    session = engine.session()
    session.extend_sync("hello")
    for bias in (Bias(preferred={absent: 30.0}), Bias(preferred={absent: -30.0})):
        template = Template.json_schema(schema)
        filling = session.infill_sync(template, verify="off", layout=layout)
        seen = [repr(filling.value)]
        while len(seen) < 9:
            try:
                filling = session.refill_sync(filling, ["/pick"], bias=bias)
            except UnsatisfiableSchema:
                break
            seen.append(repr(filling.value))
        assert 3 <= len(seen) == len(set(seen)) <= 4
