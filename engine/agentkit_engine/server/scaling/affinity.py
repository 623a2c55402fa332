"""What a request belongs to: a session, a client, or others whose prompt begins as its does.

Knows the paths and bodies of the APIs, as far as to tell that. Must not know replicas or Ray. What
belongs together is served best by one replica, which has encoded its prefix.

    session    the header `x-agentkit-session` (that of the first, for all that were forked), else
               the id in /v1/sessions/{id}/..., else the id that a new session is to have (one is
               chosen here where the client chose none)
    client     the header `x-client-id`, else `user` in the body
    beginning  the beginning of `tools`, `system`, `instructions` and what else a prompt begins with
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SESSIONS = "/v1/sessions"
_BEGINNING = 2048  # bytes of a prompt that tell which others begin as it does

# By which a prompt begins, in this order, in whichever API.
_FIRST = (
    "tools", "system", "instructions", "messages", "input", "prompt", "input_extra", "input_prefix",
    "context",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Bond:
    """What a request belongs to.

    Attributes:
        key: equal for what belongs together; empty where nothing is known.
        strict: a session, which goes nowhere else as long as its replica is there; else it is a
            hint, which a replica with much less to do outweighs.
        makes: the session that this request makes, beside the one it belongs to.
        repeatable: the same asked again does no harm, though the first may have been done.
        body: what is to be sent on.
    """

    key: str = ""
    strict: bool = False
    makes: str = ""
    repeatable: bool = True
    body: bytes = b""


def bond_of(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Bond:
    """What a request belongs to. A body that can't be read belongs to nothing."""
    if path == _SESSIONS or path.startswith(f"{_SESSIONS}/"):
        return _of_session(method, path, headers, body)
    if named := headers.get("x-agentkit-session"):
        return Bond(key=f"session {named}", strict=True, body=body)
    if client := headers.get("x-client-id"):
        return Bond(key=f"client {client}", body=body)
    if method != "POST":
        return Bond(body=body)
    asked = _object(body)
    user = asked.get("user")
    if isinstance(user, str) and user:
        return Bond(key=f"client {user}", body=body)
    return Bond(key=_beginning(asked), body=body)


def _of_session(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Bond:
    id, _, action = path.removeprefix(_SESSIONS).lstrip("/").partition("/")
    named = headers.get("x-agentkit-session", "")
    asked = _object(body) if method == "POST" else {}
    makes = ""
    if method == "POST" and action in ("", "fork") and (action == "fork") == bool(id):
        makes, body = _with_id(asked, body)
    key = named or id or makes
    repeatable = method != "POST" or bool(makes) or isinstance(asked.get("after"), int)
    return Bond(
        key=f"session {key}" if key else "",
        strict=True,
        makes=f"session {makes}" if makes and makes != key else "",
        repeatable=repeatable,
        body=body,
    )


def _with_id(asked: dict[str, Any], body: bytes) -> tuple[str, bytes]:
    """The id of the session that is to be made, and the body that says so."""
    id = asked.get("id")
    if isinstance(id, str):
        return id, body
    if id is not None or (body and not asked and body.strip() != b"{}"):
        return "", body  # wrong, as a replica will say
    id = secrets.token_hex(16)
    return id, json.dumps({**asked, "id": id}).encode()


def _beginning(asked: dict[str, Any]) -> str:
    begun = b""
    for name in _FIRST:
        if name in asked and len(begun) < _BEGINNING:
            begun += json.dumps(asked[name]).encode()
    if not begun:
        return ""
    return f"beginning {hashlib.blake2b(begun[:_BEGINNING], digest_size=12).hexdigest()}"


def _object(body: bytes) -> dict[str, Any]:
    """The object that a body holds; nothing where it is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
