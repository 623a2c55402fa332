"""The OpenAPI document, made from what the routes say of themselves.

Knows OpenAPI 3.1 and how pydantic writes schemas. Must not know any route, form or answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import WithDefaultSchema
from starlette.convertors import FloatConvertor, IntegerConvertor
from starlette.routing import BaseRoute

from agentkit_engine.server.transport.described import DescribedRoute, Given
from agentkit_engine.server.transport.dialect import Dialect
from agentkit_engine.server.transport.problems import Problem

JSON: TypeAlias = dict[str, Any]
Mode: TypeAlias = Literal["validation", "serialization"]

_KEYS: JSON = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_HEADERS: Mapping[int, JSON] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    429: {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
}
_HERE = "agentkit_engine.server."
_ABOUT = """
Tool calls, answers, text between texts, and JSON that satisfies its schema in every answer,
streamed or not. Streams are server-sent events, of each of which the schema is given.
"""


def make_document(
    routes: Iterable[BaseRoute],
    *,
    dialect: Callable[[str], Dialect],
    free: Iterable[str] | None = None,
) -> JSON:
    """The OpenAPI 3.1 document of all routes that are described.

    Args:
        dialect: that of a path, in which its problems are written.
        free: paths that need no key; None where nothing needs one.
    """
    described = [route for route in routes if isinstance(route, DescribedRoute)]
    schemas = _Schemas(_types(described, dialect))
    paths: dict[str, JSON] = {}
    for route in described:
        keyed = free is not None and route.path not in free
        writer = _Operation(route, schemas, dialect(route.path), keyed=keyed)
        own = paths.setdefault(route.path_format, {})
        for method in sorted((route.methods or set()) - {"HEAD"}):
            own[method.lower()] = writer.json(method)
    components: JSON = {"schemas": schemas.definitions}
    if free is not None:
        components["securitySchemes"] = _KEYS
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "agentkit",
            "version": version("agentkit-diffusion"),
            "description": _ABOUT.strip(),
        },
        "paths": paths,
        "components": components,
    }


def _types(
    described: Iterable[DescribedRoute], dialect: Callable[[str], Dialect]
) -> Iterable[tuple[Given, Mode]]:
    """All types that are to be written as schemas, and which way they travel."""
    for route in described:
        about = route.about
        if about.takes is not None:
            yield about.takes, "validation"
        for given in (*about.gives.values(), *about.events.values(), dialect(route.path).problem):
            if given is not None and not isinstance(given, str):
                yield given, "serialization"


class _Plain(GenerateJsonSchema):
    """Schemas without what says nothing: a field's name as its title, None as what is left out.

    Where several have one name, the rooms they are in stand before it.
    """

    def normalize_name(self, name: str) -> str:
        return super().normalize_name(name.removeprefix(_HERE)).replace("__", ".")

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", "") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


class _Schemas:
    """The schema of each type, those with a name as references."""

    def __init__(self, types: Iterable[tuple[Given, Mode]]) -> None:
        wanted: dict[tuple[str, Mode], Given] = {(repr(one), mode): one for one, mode in types}
        inputs: list[tuple[tuple[str, Mode], Mode, TypeAdapter[Any]]] = [
            (key, key[1], TypeAdapter(given)) for key, given in wanted.items()
        ]
        found, rest = TypeAdapter.json_schemas(
            inputs, ref_template="#/components/schemas/{model}", schema_generator=_Plain
        )
        self._found = {key: schema for (key, _), schema in found.items()}
        self.definitions: JSON = rest.get("$defs", {})

    def of(self, given: Given, mode: Mode) -> JSON:
        """That of a type."""
        return self._found[repr(given), mode]


class _Operation:
    """What the document tells of one route."""

    def __init__(
        self, route: DescribedRoute, schemas: _Schemas, dialect: Dialect, *, keyed: bool
    ) -> None:
        self._route, self._about, self._schemas = route, route.about, schemas
        self._dialect, self._keyed = dialect, keyed

    def json(self, method: str) -> JSON:
        """The operation of a method."""
        about, path = self._about, self._route.path_format
        words = "".join(one if one.isalnum() else " " for one in path).split()
        told: JSON = {
            "operationId": "_".join((method.lower(), *words)),
            "tags": [about.room],
            "summary": about.summary,
            "responses": self._responses(),
        }
        if about.more:
            told["description"] = about.more.strip()
        if self._route.param_convertors:
            told["parameters"] = self._parameters()
        if about.takes is not None:
            schema = self._schemas.of(about.takes, "validation")
            told["requestBody"] = {"required": True, "content": _json(schema)}
        if self._keyed:
            told["security"] = [{name: []} for name in _KEYS]
        return told

    def _parameters(self) -> list[JSON]:
        kinds: dict[type[Any], str] = {IntegerConvertor: "integer", FloatConvertor: "number"}
        return [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": kinds.get(type(convertor), "string")},
            }
            for name, convertor in self._route.param_convertors.items()
        ]

    def _responses(self) -> JSON:
        about = self._about
        told = {str(status): self._success(status) for status in about.gives}
        for status in (*about.refuses, *([401] if self._keyed else [])):
            kind = "Overloaded" if status == HTTPStatus.TOO_MANY_REQUESTS else ""
            own = self._dialect.status(Problem(status=status, kind=kind, message=""))
            refusal: JSON = {
                "description": _phrase(own),
                "content": _json(self._schemas.of(self._dialect.problem, "serialization")),
            }
            if own in _HEADERS:
                refusal["headers"] = _HEADERS[own]
            told.setdefault(str(own), refusal)
        return dict(sorted(told.items()))

    def _success(self, status: int) -> JSON:
        about = self._about
        given = about.gives[status]
        told: JSON = {"description": _phrase(status)}
        if given is None:
            return told
        if isinstance(given, str):
            told["content"] = {given: {"schema": {"type": "string"}}}
        else:
            told["content"] = _json(self._schemas.of(given, "serialization"))
        if about.events:
            told["content"]["text/event-stream"] = {"schema": self._events()}
        return told

    def _events(self) -> JSON:
        """The schema of each event; that of what it holds where it has a name to tell it by."""
        types = {**self._about.events, "error": self._dialect.problem}
        if "" in types:
            return _event({"data": {"type": "string"}})
        return {
            "oneOf": [
                _event({"event": {"const": name}, "data": self._held(given)})
                for name, given in types.items()
            ]
        }

    def _held(self, given: Given) -> JSON:
        return {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": self._schemas.of(given, "serialization"),
        }


def _json(schema: JSON) -> JSON:
    return {"application/json": {"schema": schema}}


def _event(properties: JSON) -> JSON:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _phrase(status: int) -> str:
    """In words; some APIs have statuses of their own."""
    known = status in HTTPStatus.__members__.values()
    return HTTPStatus(status).phrase if known else "Refused"
