"""Bodies: read within bounds, checked, and written.

Knows HTTP's headers and JSON. Must not know what any field means. What is refused here is refused
before anything is made of it: checking a list of millions of wrong items, say, would hold up
everybody else for seconds.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, TypeVar

import anyio
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from agentkit_engine.server.limits import Limits
from agentkit_engine.server.transport.account import current_account
from agentkit_engine.server.transport.problems import Refused

Form = TypeVar("Form", bound=BaseModel)

_DISCARDED = 32  # times the longest body that are read of one that is longer, and thrown away
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_LARGE_EXPONENT = re.compile(rb"[eE]\+?[0-9]{3}")
# As the checker of forms names one of several that a value may be; clients know no such field.
_KIND = re.compile(r"constrained-[a-z]+|function-[a-z]+\[.*\]|(literal|list|tuple|dict)\[.*\]")
_LONGEST_NAME = 200  # characters of a field that an error names; clients choose some of them


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body of a request, which is JSON.

    Raises:
        Refused: it is said to be something else, is too long, or comes too slowly.
        ClientDisconnect: it never came to its end.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # which no web page can send here without being asked first
        why = f"the body is {kind[:_LONGEST_NAME]!r}; send 'application/json'"
        raise Refused(415, "UnsupportedMediaType", why)
    body = await read_bytes(request, limits)
    account = current_account()
    if account is not None and account.keeps_body:
        account.body = body
    return body


async def read_bytes(request: Request, limits: Limits) -> bytes:
    """The body of a request, whatever it is.

    Raises:
        Refused: it is too long, or comes too slowly.
        ClientDisconnect: it never came to its end.
    """
    body, read, longest = bytearray(), 0, limits.body_bytes
    with anyio.move_on_after(limits.body_seconds) as scope:
        async for chunk in request.stream():
            read += len(chunk)
            if read <= longest:
                body += chunk
            else:
                body.clear()
            # A client that still writes when the connection closes never reads why.
            if read > _DISCARDED * longest:
                break
    if read > longest:
        raise Refused(413, "BodyTooLong", f"the body is longer than {longest} bytes; send less")
    if scope.cancelled_caught:
        why = f"the body took longer than {limits.body_seconds:g} s; send it faster, or less"
        raise Refused(408, "BodyTooSlow", why)
    account = current_account()
    if account is not None and account.keeps_body:
        account.body = bytes(body)
    return bytes(body)


def read_form(form: type[Form], body: bytes, *, most_values: int) -> Form:
    """A request's body, checked.

    Raises:
        Refused: it is no JSON, or not of this form; names the field.
    """
    if body.count(b",") > most_values and _STRING.sub(b"", body).count(b",") > most_values:
        why = f"the body holds more than {most_values} values; send less"
        raise Refused(413, "BodyTooLong", why)
    _check_numbers(body)
    try:
        return form.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise _refused(error) from error


def write_json(value: Any) -> bytes:
    """JSON, as short as it gets. Half a character, which UTF-8 has no bytes for, is a `?`."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(errors="replace")


def _check_numbers(body: bytes) -> None:
    """Refuses numbers that JSON has not, or that no float holds; the parser takes them."""
    if b"NaN" in body or b"Infinity" in body or _LARGE_EXPONENT.search(body):
        try:
            where = _infinite(from_json(body))
        except ValueError:  # it is no JSON at all, which the parser says better
            return
        if where is not None:
            field = ".".join(where)[:_LONGEST_NAME]
            why = f"{field or 'the body'} is no number that JSON has; send a finite one"
            raise Refused(400, "InvalidJSON", why, field)


def _infinite(value: Any) -> list[str] | None:
    """The path of the first number that is not finite; as deep as the parser goes, which is 200."""
    if isinstance(value, float):
        return None if math.isfinite(value) else []
    inside: Any = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    for key, one in inside:
        found = _infinite(one)
        if found is not None:
            return [str(key), *found]
    return None


def _refused(error: ValidationError) -> Refused:
    first, *more = error.errors(include_url=False, include_context=False, include_input=False)
    named = (str(part) for part in first["loc"])
    field = ".".join(part for part in named if not _KIND.fullmatch(part))[:_LONGEST_NAME]
    others = f" ({len(more)} more)" if more else ""
    if first["type"] == "json_invalid":
        return Refused(400, "InvalidJSON", f"the body is no JSON: {first['msg']}")
    why = first["msg"].removeprefix("Value error, ")  # as pydantic begins what forms say themselves
    return Refused(422, "InvalidRequest", f"{field or 'the body'}: {why}{others}", field)
