"""What a model reads of an API's answer: JSON, shortened where it is long.

Knows media types and how much may be shown. Must not know operations or hosts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, cast

from agentkit_tools.internet.requesting import Reply

_JSON_TYPE = re.compile(r"application/(?:[\w.-]+\+)?json")
_CHARSETS = frozenset({"utf-8", "us-ascii", "iso-8859-1", "windows-1252"})
_SHORTER = ((50, 1000), (20, 400), (10, 200), (5, 100), (3, 60), (1, 30))  # items, characters


def told(reply: Reply, *, limit: int) -> str:
    """The answer as text of about `limit` characters.

    Raises:
        ValueError: the status says that it failed; tells it and the answer.
    """
    body = _body(reply, limit)
    if reply.status >= 300:
        raise ValueError(f"the API answers {reply.status}: {body}")
    return body


def _body(reply: Reply, limit: int) -> str:
    kind = reply.media_type
    if not reply.body:
        return f"[Done; the API answers {reply.status} and no more.]"
    charset = reply.charset if reply.charset in _CHARSETS else None
    text = reply.body.decode(charset or "utf-8", "replace")
    if _JSON_TYPE.fullmatch(kind) and not reply.cut:
        try:
            return _json(json.loads(text), limit)
        except (ValueError, RecursionError):
            pass  # it says that it is, and is not
    elif not kind.startswith("text/") and not _JSON_TYPE.fullmatch(kind) and kind:
        return f"[{len(reply.body)} bytes of {kind}, which can't be read.]"
    if len(text) <= limit and not reply.cut:
        return text
    return f"{text[:limit]}\n\n[Cut; ask for less of it where the arguments allow.]"


def _json(value: Any, limit: int) -> str:
    text = _written(value)
    if len(text) <= limit:
        return text
    for items, characters in _SHORTER:
        text = _written(_shortened(value, items, characters))
        if len(text) <= limit:
            break
    note = "\n\n[Lists and texts are cut; ask for less where the arguments allow.]"
    return text[:limit] + note


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _shortened(value: Any, items: int, characters: int) -> Any:
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {name: _shortened(one, items, characters) for name, one in members.items()}
    if isinstance(value, list):
        all_ = cast("Sequence[Any]", value)
        shown = [_shortened(one, items, characters) for one in all_[:items]]
        return [*shown, f"… {len(all_) - items} more"] if len(all_) > items else shown
    if isinstance(value, str) and len(value) > characters:
        return f"{value[:characters]}…"
    return value
