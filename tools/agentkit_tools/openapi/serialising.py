"""How a parameter's value is written in its place: the styles of OpenAPI.

Knows styles and percent-encoding. Must not know schemas or requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, cast
from urllib.parse import quote

from agentkit_tools.openapi.operation import Parameter

_RESERVED = ":/?#[]@!$&'()*+,;="
_DELIMITERS = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}


def in_path(parameter: Parameter, value: Any) -> str:
    """What takes the place of `{name}` in a path; nothing in it ends a segment."""
    if parameter.media:
        return _escaped(json.dumps(value))
    lead, between = {"simple": ("", ","), "label": (".", "."), "matrix": (";", ";")}[
        parameter.style
    ]
    if parameter.style == "matrix":
        return _matrix(parameter, value)
    items = _flat(value, explode=parameter.explode, escape=_escaped)
    return lead + (between if parameter.explode else ",").join(items)


def _matrix(parameter: Parameter, value: Any) -> str:
    name = _escaped(parameter.name)
    if parameter.explode and isinstance(value, dict):
        return "".join(f";{pair}" for pair in _flat(value, explode=True, escape=_escaped))
    if parameter.explode and isinstance(value, list):
        return "".join(f";{name}={item}" for item in _flat(value, explode=True, escape=_escaped))
    return f";{name}=" + ",".join(_flat(value, explode=False, escape=_escaped))


def in_query(parameter: Parameter, value: Any) -> list[str]:
    """The `name=value` parts of a query."""

    def escape(text: str) -> str:
        # What would end the value, or begin another, is escaped even where it is reserved.
        safe = "".join(set(_RESERVED) - set("#&+[]")) if parameter.reserved else ""
        return quote(text, safe=safe)

    name = _escaped(parameter.name)
    if parameter.media:
        return [f"{name}={escape(json.dumps(value))}"]
    if parameter.style == "deepObject":
        return list(_deep(name, value))
    if parameter.explode and isinstance(value, dict):
        return list(_flat(value, explode=True, escape=escape))
    items = list(_flat(value, explode=False, escape=escape))
    if parameter.explode and isinstance(value, list):
        return [f"{name}={item}" for item in items]
    return [f"{name}={_DELIMITERS[parameter.style].join(items)}"]


def in_header(parameter: Parameter, value: Any) -> str:
    """The value of a header."""
    if parameter.media:
        return json.dumps(value)
    return ",".join(_flat(value, explode=parameter.explode, escape=str))


def in_cookie(parameter: Parameter, value: Any) -> list[str]:
    """The `name=value` parts of a Cookie header."""
    return in_query(parameter, value)


def _deep(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in cast("dict[str, Any]", value).items():
            yield from _deep(f"{name}[{_escaped(key)}]", member)
    elif isinstance(value, list):
        for item in cast("Sequence[Any]", value):
            yield from _deep(name, item)
    elif value is not None:
        yield f"{name}={_escaped(_text(value))}"


def _flat(value: Any, *, explode: bool, escape: Any) -> Iterator[str]:
    """The pieces of a value: its items, or its members as pairs or one after the other."""
    if isinstance(value, list):
        yield from (escape(_text(item)) for item in cast("Sequence[Any]", value))
    elif isinstance(value, dict):
        for key, member in cast("dict[str, Any]", value).items():
            if explode:
                yield f"{escape(key)}={escape(_text(member))}"
            else:
                yield from (escape(key), escape(_text(member)))
    else:
        yield escape(_text(value))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _escaped(text: str) -> str:
    return quote(text, safe="")
