"""Bodies: read within bounds, checked, and written.

Knows HTTP's headers and JSON. Must not know what any field means.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from agentkit_engine.server.transport.problems import Refused

Form = TypeVar("Form", bound=BaseModel)


async def read_body(request: Request, *, most: int) -> bytes:
    """The body of a request, which is JSON.

    Raises:
        Refused: it is said to be something else, or longer than `most` bytes.
        ClientDisconnect: it never came to its end.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # which no web page can send here without being asked first
        raise Refused(415, "UnsupportedMediaType", f"the body is {kind!r}; send 'application/json'")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_long(most)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise _too_long(most)
    return bytes(body)


def read_form(form: type[Form], body: bytes) -> Form:
    """A request's body, checked.

    Raises:
        Refused: it is no JSON, or not of this form; names the field.
    """
    try:
        return form.model_validate_json(body or b"{}")
    except ValidationError as error:
        first, *more = error.errors(include_url=False, include_context=False, include_input=False)
        field = ".".join(map(str, first["loc"]))
        others = f" ({len(more)} more)" if more else ""
        if first["type"] == "json_invalid":
            raise Refused(400, "InvalidJSON", f"the body is no JSON: {first['msg']}") from error
        message = f"{field or 'the body'}: {first['msg']}{others}"
        raise Refused(422, "InvalidRequest", message, field) from error


def write_json(value: Any) -> bytes:
    """JSON, as short as it gets."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _too_long(most: int) -> Refused:
    return Refused(413, "BodyTooLong", f"the body is longer than {most} bytes; send less")
