"""Parameters and body of an operation -> one schema; the arguments of a call -> a request.

Knows operations. Must not know hosts, secrets or answers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from agentkit import Retry
from agentkit_tools.openapi.document import JSON, Document
from agentkit_tools.openapi.operation import Body, Operation, Parameter, Place
from agentkit_tools.openapi.schema import Schemas
from agentkit_tools.openapi.serialising import in_cookie, in_header, in_path, in_query

WHOLE_BODY = "body"
"""The argument that a body is where its fields can't be arguments."""

Hidden: TypeAlias = frozenset[tuple[Place, str]]
"""Parameters that a secret takes the place of, by place and name."""
Origin: TypeAlias = Parameter | str | Literal[True]
"""Where an argument goes: a parameter, a field of the body, or True: it is the body."""


@dataclass(slots=True)
class Filled:
    """The parts of a request, before there is a host."""

    path: str
    query: list[str] = field(default_factory=list[str])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    cookies: list[str] = field(default_factory=list[str])
    content: bytes | None = None


class Arguments:
    """The arguments of an operation. schema: all of them, an object's."""

    def __init__(self, document: Document, operation: Operation, hidden: Hidden) -> None:
        """Merge what the operation takes.

        Raises:
            BadDocument: a schema can't be read.
        """
        self._operation = operation
        self._schemas = Schemas(document)
        self._origins: dict[str, Origin] = {}
        properties: JSON = {}
        required: list[str] = []
        fields, needed = self._body_fields(operation.body)
        shown = [one for one in operation.parameters if (one.place, one.name) not in hidden]
        taken = Counter([*(one.name for one in shown), *fields])
        for parameter in shown:
            name = parameter.name
            if taken[name] > 1:
                name = f"{parameter.place}_{name}"
            properties[name] = self._parameter_schema(parameter)
            self._origins[name] = parameter
            required += [name] if parameter.required else []
        for key, schema in fields.items():
            name = f"body_{key}" if taken[key] > 1 or key in properties else key
            properties[name] = schema
            self._origins[name] = True if self._whole else key
            required += [name] if key in needed else []
        self.schema: JSON = {
            "type": "object",
            "properties": properties,
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }
        if self._schemas.definitions:
            self.schema["$defs"] = self._schemas.definitions

    def _parameter_schema(self, parameter: Parameter) -> JSON:
        schema = self._schemas.plain(parameter.schema, parameter.pointer)
        return {"description": parameter.description, **schema} if parameter.description else schema

    def _body_fields(self, body: Body | None) -> tuple[JSON, list[str]]:
        """The arguments that make the body, and those of them that it needs."""
        self._whole = False
        if body is None:
            return {}, []
        schema = self._schemas.plain(body.schema, body.pointer)
        # Fields become arguments where they say all: of an optional body, or one with conditions
        # between its fields, they would not.
        known = {"type", "properties", "required", "description", "additionalProperties", "default"}
        plain = schema.get("type") == "object" and set(schema) <= known
        closed = schema.get("additionalProperties") in (None, False)
        if body.required and plain and closed and schema.get("properties"):
            return schema["properties"], schema.get("required", [])
        self._whole = True
        if body.description:
            schema = {"description": body.description, **schema}
        return {WHOLE_BODY: schema}, [WHOLE_BODY] if body.required else []

    def fill(self, arguments: Mapping[str, Any]) -> Filled:
        """The parts of the request that arguments make.

        Raises:
            Retry: an argument can't stand where it goes.
        """
        operation = self._operation
        filled = Filled(operation.path)
        body: Any = {} if operation.body is not None and operation.body.required else None
        for name, value in arguments.items():
            origin = self._origins[name]
            if origin is True:
                body = value
            elif isinstance(origin, str):
                cast("JSON", body)[origin] = value
            elif value is not None or origin.place == "path":
                _place(filled, origin, name, value)
        if operation.body is not None and body is not None:
            filled.content = json.dumps(body, ensure_ascii=False).encode()
            filled.headers["content-type"] = operation.body.media_type
        if filled.cookies:
            filled.headers["cookie"] = "; ".join(filled.cookies)
        return filled


def _place(filled: Filled, parameter: Parameter, argument: str, value: Any) -> None:
    if parameter.place == "path":
        written = in_path(parameter, value)
        # An empty segment, "." or ".." would name something else than the path means.
        if written.strip(".;=") == "" or value is None:
            raise Retry(f"{value!r} can't stand in the path; give what it names", value=argument)
        filled.path = filled.path.replace(f"{{{parameter.name}}}", written)
    elif parameter.place == "query":
        filled.query += in_query(parameter, value)
    elif parameter.place == "cookie":
        filled.cookies += in_cookie(parameter, value)
    else:
        written = in_header(parameter, value)
        if not written.isprintable() or not written.isascii():
            raise Retry("a header is one line of ASCII; leave the rest out", value=argument)
        filled.headers[parameter.name] = written
