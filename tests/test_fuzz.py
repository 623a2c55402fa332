"""Schemas nobody wrote, sampled and filled, judged by jsonschema: `make check-long`."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import jsonschema
import pytest
from fillings import fill
from languages import sample, valid
from wild import changed, wild_schema, wild_value

from agentkit_engine import CanvasTooShort, Engine, Template, UnsatisfiableSchema
from agentkit_engine.checkpoint import Checkpoint
from agentkit_engine.errors import SchemaTooLarge, UnsupportedSchema
from agentkit_engine.grammar import ByteAutomaton, Options, schema_automaton
from agentkit_engine.layouts.maker import Layout
from agentkit_engine.syntax import GEMMA, JSON, SPACED, Syntax

SCHEMAS = 1500
WILD_SCHEMAS = 800
SYNTAXES = (JSON, SPACED, GEMMA)
SETTINGS = {
    "default": Options(max_seconds=5.0),
    "open": Options(order="any", open=True, max_seconds=5.0),
}
LAYOUTS: tuple[Layout, ...] = ("slots", "float")
FORMATS = ("date", "time", "date-time", "email", "uuid", "ipv4")


def random_schema(random: Random, depth: int = 0) -> dict[str, Any]:
    """A schema of supported keywords, at most three levels deep."""
    kinds = ["string", "integer", "number", "enum", "boolean", "null"]
    if depth < 2:
        kinds += ["object", "object", "array", "union"]
    match random.choice(kinds):
        case "string":
            return _string(random)
        case "integer":
            low = random.randint(-300, 300)
            bounds = {"minimum": low, "maximum": low + random.randint(0, 400)}
            return {"type": "integer"} | {k: v for k, v in bounds.items() if random.random() < 0.6}
        case "number":
            start = round(random.uniform(-50, 50), 2)
            range_ = {"minimum": start, "exclusiveMaximum": start + random.randint(1, 90)}
            return {"type": "number"} | {k: v for k, v in range_.items() if random.random() < 0.5}
        case "enum":
            return {"enum": random.sample(["a", "b c", "ü", 1, -2, 3.5, True, None, "<|x|>"], 3)}
        case "object":
            return _object(random, depth)
        case "array":
            least = random.randint(0, 2)
            items = random_schema(random, depth + 1)
            return {"type": "array", "items": items, "minItems": least, "maxItems": least + 1}
        case "union":
            # branches of types of their own
            return {"anyOf": [_string(random), {"type": "integer"}, {"type": "null"}]}
        case kind:
            return {"type": kind}


def _string(random: Random) -> dict[str, Any]:
    draw = random.random()
    if draw < 0.25:
        return {"type": "string", "format": random.choice(FORMATS)}
    if draw < 0.4:
        return {"type": "string", "pattern": random.choice(("^[a-z]{2,4}$", "^a+b?$", "[0-9]{2}"))}
    least = random.randint(0, 4)
    return {"type": "string", "minLength": least, "maxLength": least + random.randint(0, 6)}


def _object(random: Random, depth: int) -> dict[str, Any]:
    names = random.sample(["a", "b", "key_c", "d-e", "naïve", "x y"], random.randint(0, 4))
    properties = {name: random_schema(random, depth + 1) for name in names}
    required = [name for name in names if random.random() < 0.6]
    return {"type": "object", "properties": properties, "required": required}


@pytest.mark.long
def test_random_schemas_filled_from_random_logits_are_valid(tiny_checkpoint: Checkpoint) -> None:
    engine, random = Engine(tiny_checkpoint), Random(0)
    filled = 0
    for number in range(SCHEMAS):
        schema = random_schema(random)
        validator = jsonschema.Draft202012Validator(
            schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
        )
        for layout in LAYOUTS:
            template = Template.json_schema(schema)
            try:
                form = engine.runtime.forms.template(template, layout=layout, width=None)
            except (CanvasTooShort, UnsatisfiableSchema):
                continue
            for seed in range(3):
                value, _, _ = fill(engine, form, seed=3 * number + seed)
                validator.validate(value)
                filled += 1
    assert filled > SCHEMAS


@pytest.mark.long
@pytest.mark.parametrize("name", SETTINGS)
def test_whatever_is_written_of_any_schema_is_valid(name: str) -> None:
    """Every keyword of every draft; strict parts are never empty and never repeat anything."""
    random, judged = Random(1), 0
    for _ in range(WILD_SCHEMAS):
        schema, syntax = wild_schema(random), random.choice(SYNTAXES)
        try:
            automaton = schema_automaton(schema, syntax=syntax, options=SETTINGS[name])
        except (SchemaTooLarge, UnsatisfiableSchema, UnsupportedSchema):
            continue
        for text in _texts(automaton, syntax, random):
            if automaton.accepts(text):
                judged += 1
                assert _judged(schema, syntax.loads(text)), (schema, text)
        if automaton.strict is not None:
            for _ in range(3):
                text = sample(automaton.strict, random, turns=10)
                assert automaton.strict.accepts(text)
                assert _judged(schema, syntax.loads(text)), (schema, text)
    assert judged > 4 * WILD_SCHEMAS


def _texts(automaton: ByteAutomaton, syntax: Syntax, random: Random) -> Iterator[bytes]:
    """Texts of the automaton, others a little different, and any others."""
    for turns in (2, 10, 40, 40):
        text = sample(automaton, random, turns=turns)
        yield text
        if automaton.accepts(text):
            yield from (syntax.dumps(changed(random, syntax.loads(text))) for _ in range(4))
    yield from (syntax.dumps(wild_value(random)) for _ in range(16))


def _judged(schema: Any, value: Any) -> bool:
    """Whether a value is valid, or jsonschema can't tell."""
    try:
        return valid(schema, value)
    except Exception:  # of many kinds: it stumbles over \\p{L} and endless references
        return True
