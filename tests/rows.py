"""Rows of every kind: schemas and templates, their forms, and rows that are filled at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from agentkit_engine import Engine, Template
from agentkit_engine.filling.course import Course, Held, course_of
from agentkit_engine.filling.solution import solve
from agentkit_engine.lattice import Bias
from agentkit_engine.layouts.forms import Form, Region
from agentkit_engine.layouts.maker import Layout

NUMBER, WORD = {"type": "integer"}, {"type": "string", "maxLength": 4}


SCHEMAS: dict[str, Any] = {
    "required": {
        "type": "object",
        "properties": {"city": WORD, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["city", "days"],
    },
    "optional behind required": {
        "type": "object",
        "properties": {"id": NUMBER, "b": {"type": "boolean"}, "c": WORD},
        "required": ["id"],
    },
    "optional between required": {
        "type": "object",
        "properties": {"a": WORD, "ab": NUMBER, "abc": WORD, "b": NUMBER},
        "required": ["a", "b"],
    },
    "all optional": {
        "type": "object",
        "properties": {"a": WORD, "b": NUMBER, "c": {"enum": ["on", "off"]}},
    },
    "nested": {
        "type": "object",
        "properties": {
            "at": {
                "type": "object",
                "properties": {"x": NUMBER, "y": NUMBER, "z": WORD},
                "required": ["x"],
            },
            "to": {"type": "object", "properties": {"w": WORD}},
        },
        "required": ["at"],
    },
    "enums and numbers": {
        "type": "object",
        "properties": {
            "unit": {"enum": ["celsius", "cel", "kelvin"]},
            "any": {"enum": [1, "one", None, True]},
            "part": {"type": "number"},
        },
        "required": ["unit"],
    },
    "free keys": {
        "type": "object",
        "properties": {"env": {"type": "object", "additionalProperties": NUMBER}},
        "required": ["env"],
    },
    "arrays": {
        "type": "object",
        "properties": {
            "set": {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True},
            "list": {"type": "array", "items": WORD, "minItems": 1},
        },
        "required": ["set"],
    },
    "nothing": {"type": "object", "properties": {}},
}


TEMPLATES = {
    "array": Template.json_schema({"type": "array", "items": {"type": "boolean"}}),
    "string": Template.json_schema({"type": "string", "maxLength": 6}),
    "choice": Template.choice(["a", "ab", "tea", "team"]),
    "regex": Template.regex("[ab]{2,6}c?"),
    "text": Template.text(7),
}


LAYOUTS: tuple[Layout, ...] = ("slots", "float")


def forms_of(engine: Engine) -> list[tuple[str, Form]]:
    """Every kind of row."""
    made = engine.runtime.forms
    calls = [
        ("call", made.call("tell", schema, layout=layout))
        for schema in SCHEMAS.values()
        for layout in LAYOUTS
    ]
    plain = [
        (name, made.template(template, layout=layout, width=None))
        for name, template in TEMPLATES.items()
        for layout in LAYOUTS
    ]
    rows = [
        ("json", made.template(Template.json_schema(schema), layout=layout, width=None))
        for schema in SCHEMAS.values()
        for layout in LAYOUTS
    ]
    return [*calls, *rows, *plain]


def course(form: Form, bias: Bias | None = None) -> Course:
    found = course_of(form, bias)
    assert found is not None
    return found


def noise(form: Form, seed: int, spread: float = 3.0) -> torch.Tensor:
    """Logits of nothing in particular: [W, V]."""
    chance = torch.Generator().manual_seed(seed)
    return spread * torch.randn(form.width, 448, generator=chance)


def filled(form: Form, seed: int, spread: float = 3.0) -> tuple[int, ...]:
    return solve(noise(form, seed, spread), form).tokens


def row_of(form: Form, held: Held) -> tuple[int, ...]:
    """The row of which everything is held."""
    tokens = [held.pins.get(k) if token is None else token for k, token in enumerate(form.tokens)]
    assert None not in tokens
    return tuple(token for token in tokens if token is not None)


def tiny_schemas() -> list[Any]:
    one, two, flag = {"enum": [1, 7]}, {"enum": ["a", "b"]}, {"type": "boolean"}
    return [
        {"type": "object", "properties": {"a": one, "ab": two}, "required": ["a"]},
        {"type": "object", "properties": {"a": one, "b": one, "c": one}},
        {"type": "object", "properties": {"a": one, "b": one, "c": two}, "required": ["b"]},
        {"type": "object", "properties": {"a": two, "b": flag}},
        {
            "type": "object",
            "properties": {"a": {"type": "object", "properties": {"b": one, "c": one}}, "d": one},
            "required": ["a", "d"],
        },
    ]


def every_row(form: Form) -> list[tuple[int, ...]]:
    """All rows of a form, by trying all tokens."""
    parts: list[list[tuple[int, ...]]] = []
    for region in form.regions:
        assert isinstance(region, Region)
        parts.append(list(_every_filling(region, region.automaton.start, ())))
    rows: list[tuple[int, ...]] = []
    for chosen in product(*parts):
        row = list(form.tokens)
        for region, tokens in zip(form.regions, chosen, strict=True):
            row[region.start : region.stop] = tokens
        rows.append(tuple(token for token in row if token is not None))
    return rows


def _every_filling(
    region: Region, state: int, so_far: tuple[int, ...]
) -> Iterator[tuple[int, ...]]:
    if len(so_far) == region.width:
        if region.automaton.accepts(so_far):
            yield so_far
        return
    for token in np.flatnonzero(region.automaton.class_of >= 0).tolist():
        after = region.automaton.step(state, token)
        if after >= 0:
            yield from _every_filling(region, after, (*so_far, token))


def agrees(form: Form, row: Sequence[int], held: Held) -> bool:
    regions = [region for region in form.regions if isinstance(region, Region)]
    there = all(regions[k].said(row) is not None for k in held.present)
    return there and all(row[place] == token for place, token in held.pins.items())
