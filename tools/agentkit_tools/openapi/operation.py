"""The operations of a document, as they are said: parameters, body, security, server.

Knows OpenAPI's objects and what they default to. Must not know how a call is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

from agentkit_tools.openapi import Method
from agentkit_tools.openapi.document import JSON, BadDocument, Document, step

Place: TypeAlias = Literal["path", "query", "header", "cookie"]
Style: TypeAlias = Literal[
    "simple", "label", "matrix", "form", "spaceDelimited", "pipeDelimited", "deepObject"
]

_STYLES: dict[Place, tuple[Style, ...]] = {  # the first is the default
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
# Never a parameter: the request's own, or by the standard said elsewhere in the document.
_OWN_HEADERS = frozenset(
    {"accept", "authorization", "connection", "content-length", "content-type", "cookie", "host"}
    | {"proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade", "expect"}
)
_JSON_TYPE = re.compile(r"application/(?:[\w.-]+\+)?json(?:;.*)?", re.IGNORECASE)
_MAX_NAME = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A value outside the body. reserved: `/?:@` and such stand for themselves in it.

    media: the value is written as JSON, whatever its type.
    """

    name: str
    place: Place
    required: bool
    description: str
    schema: Any
    style: Style
    explode: bool
    reserved: bool
    media: bool
    pointer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What is sent as JSON."""

    required: bool
    description: str
    schema: Any
    media_type: str
    pointer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What may be asked of the API. security: alternatives, each a set of schemes; None: none.

    servers: its own, where it has some.
    """

    name: str
    method: Method
    path: str
    description: str
    tags: frozenset[str]
    parameters: tuple[Parameter, ...]
    body: Body | None
    security: tuple[frozenset[str], ...]
    servers: tuple[JSON, ...]
    pointer: str


@dataclass(frozen=True, slots=True)
class Sketch:
    """An operation of which the name is known, and no part is read yet."""

    name: str
    method: Method
    path: str
    tags: frozenset[str]
    said: JSON
    item: JSON
    pointer: str


def sketches(document: Document) -> Iterator[Sketch]:
    """Every operation of a document.

    Raises:
        BadDocument: two of them have one name.
    """
    seen: dict[str, str] = {}
    for path, value in cast("JSON", document.root["paths"]).items():
        item, place = document.resolved(value, step("/paths", path))
        for method in get_args(Method):
            if method not in item:
                continue
            said, pointer = document.resolved(item[method], step(place, method))
            name = _name(said.get("operationId"), method, path)
            if name in seen:
                raise BadDocument(
                    pointer,
                    f"two operations are named {name!r}, the other at {seen[name]}; give each an "
                    "`operationId` of its own",
                )
            seen[name] = pointer
            tags = frozenset(map(str, cast("list[Any]", said.get("tags") or [])))
            yield Sketch(name, method, path, tags, said, item, pointer)


def _name(operation_id: Any, method: str, path: str) -> str:
    said = operation_id if isinstance(operation_id, str) and operation_id else f"{method}{path}"
    name = re.sub(r"[^A-Za-z0-9-]+", "_", said).strip("_")
    return (name if name[:1].isalpha() else f"_{name}")[:_MAX_NAME]


def read_operation(document: Document, sketch: Sketch) -> Operation:
    """All of an operation.

    Raises:
        BadDocument: a part of it can't be used.
    """
    said = sketch.said
    parameters: dict[tuple[str, str], Parameter] = {}
    for holder, place in ((sketch.item, sketch.pointer.rpartition("/")[0]), (said, sketch.pointer)):
        for number, value in enumerate(cast("list[Any]", holder.get("parameters") or [])):
            found = _parameter(document, value, step(place, "parameters", number))
            if found is not None:
                parameters[found.name, found.place] = found
    _check_path(sketch, [one.name for one in parameters.values() if one.place == "path"])
    security = cast("list[JSON]", said.get("security", document.root.get("security")) or [])
    return Operation(
        name=sketch.name,
        method=sketch.method,
        path=sketch.path,
        description=_described(said, sketch),
        tags=sketch.tags,
        parameters=tuple(parameters.values()),
        body=_body(document, said, sketch.pointer),
        security=tuple(map(frozenset, security)),
        servers=tuple(said.get("servers") or sketch.item.get("servers") or ()),
        pointer=sketch.pointer,
    )


def _described(said: JSON, sketch: Sketch) -> str:
    texts = [str(said[key]).strip() for key in ("summary", "description") if said.get(key)]
    return "\n\n".join(dict.fromkeys(texts)) or f"{sketch.method.upper()} {sketch.path}"


def _check_path(sketch: Sketch, known: list[str]) -> None:
    for name in re.findall(r"\{([^{}]*)\}", sketch.path):
        if name not in known:
            raise BadDocument(
                sketch.pointer, f"the path has {{{name}}}, and no path parameter is of that name"
            )


def _parameter(document: Document, value: Any, pointer: str) -> Parameter | None:
    said, pointer = document.resolved(value, pointer)
    name, place = said.get("name"), said.get("in")
    if not isinstance(name, str) or place not in _STYLES:
        raise BadDocument(pointer, "a parameter needs a `name`, and an `in` that says where")
    if place == "header" and name.lower() in _OWN_HEADERS:
        return None
    required = said.get("required") is True or place == "path"
    style: Any = said.get("style", _STYLES[place][0])
    if style not in _STYLES[place]:
        known = ", ".join(_STYLES[place])
        raise BadDocument(step(pointer, "style"), f"{style!r} is none of {place}: {known}")
    schema, media = said.get("schema"), False
    if schema is None:
        schema, _ = _of_content(document, said.get("content"), pointer)
        media = True
    return Parameter(
        name=name,
        place=place,
        required=required,
        description=str(said.get("description") or ""),
        schema=schema,
        style=style,
        explode=bool(said.get("explode", style == "form")),
        reserved=said.get("allowReserved") is True,
        media=media,
        pointer=step(pointer, "schema"),
    )


def _body(document: Document, said: JSON, pointer: str) -> Body | None:
    if said.get("requestBody") is None:
        return None
    body, place = document.resolved(said["requestBody"], step(pointer, "requestBody"))
    try:
        schema, media_type = _of_content(document, body.get("content"), place)
    except BadDocument:
        if body.get("required") is True:
            raise
        return None  # it can be called without
    return Body(
        required=body.get("required") is True,
        description=str(body.get("description") or ""),
        schema=schema,
        media_type=media_type,
        pointer=step(place, "content", media_type, "schema"),
    )


def _of_content(document: Document, content: Any, pointer: str) -> tuple[Any, str]:
    types = cast("JSON", content) if isinstance(content, dict) else {}
    for media_type, value in types.items():
        if _JSON_TYPE.fullmatch(media_type):
            said, _ = document.resolved(value, step(pointer, "content", media_type))
            return said.get("schema", {}), media_type
    known = ", ".join(types) or "none"
    raise BadDocument(step(pointer, "content"), f"no JSON is among its types: {known}")
