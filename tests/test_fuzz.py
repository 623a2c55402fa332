"""Schemas nobody wrote, filled from random logits, judged by jsonschema: `make check-long`."""

from __future__ import annotations

from random import Random
from typing import Any

import jsonschema
import pytest
from fillings import fill

from agentkit_engine import CanvasTooShort, Engine, Template, UnsatisfiableSchema
from agentkit_engine.checkpoint import Checkpoint
from agentkit_engine.layouts import Layout

SCHEMAS = 1500
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
