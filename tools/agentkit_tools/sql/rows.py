"""What is shown of rows: JSON values, and no more of them than is allowed.

Knows values; must not know databases.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, cast

from agentkit_tools.sql.database import Result


@dataclass(frozen=True, slots=True)
class Caps:
    """How much is shown. hint: what to do about rows that are left out."""

    max_rows: int
    max_bytes: int
    max_value: int
    hint: str = "ask for fewer rows or columns, count them, or go on with LIMIT and OFFSET"


def shown(result: Result, caps: Caps) -> dict[str, Any]:
    """`columns` and `rows` of a result, and a `note` where there is more than is allowed."""
    rows: list[list[Any]] = []
    size, why = 0, ""
    for row in result.rows:
        if len(rows) == caps.max_rows:
            why = f"{caps.max_rows} rows are the most"
            break
        values = [plain(value, caps.max_value) for value in row]
        size += len(json.dumps(values, ensure_ascii=False).encode("utf-8", "replace"))
        if size > caps.max_bytes:
            why = f"{caps.max_bytes} bytes are the most"
            break
        rows.append(values)
    told: dict[str, Any] = {"columns": list(result.columns), "rows": rows}
    if why:
        told["note"] = f"there are more rows than the {len(rows)} here: {why} at once; {caps.hint}"
    return told


def plain(value: Any, limit: int) -> Any:
    """A database's value as JSON.

    Numbers that a float can't hold exactly, dates and the like are text; so are bytes, in hex.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return _cut(value.encode("utf-8", "replace").decode(), limit)
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(cast("bytes | bytearray", value))
        return _cut(f"0x{data[:limit].hex()}", limit, 2 + 2 * len(data))
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [plain(item, limit) for item in cast("Sequence[Any]", value)]
    if isinstance(value, dict):
        return _plain_members(value, limit)  # pyright: ignore[reportUnknownArgumentType]
    return _cut(str(value), limit)


def _plain_members(members: dict[Any, Any], limit: int) -> dict[str, Any]:
    return {str(key): plain(item, limit) for key, item in members.items()}


def _cut(text: str, limit: int, whole: int | None = None) -> str:
    length = len(text) if whole is None else whole
    return text if length <= limit else f"{text[:limit]}… ({length} characters)"
