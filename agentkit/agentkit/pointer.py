"""JSON pointers (RFC 6901): how a value within another is named.

Knows JSON values alone.
"""

from __future__ import annotations

from typing import Any, cast


def pointer_of(*names: str | int) -> str:
    """The pointer of the value that keys and indices lead to, one after the other."""
    return "".join(f"/{str(name).replace('~', '~0').replace('/', '~1')}" for name in names)


def names_in(pointer: str) -> list[str]:
    """The keys and indices of a pointer."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def value_at(pointer: str, whole: object) -> Any:
    """The value at a pointer.

    Raises:
        LookupError: there is none.
    """
    value: Any = whole
    for name in names_in(pointer):
        if isinstance(value, dict):
            value = cast(Any, value)[name]
        elif isinstance(value, list) and name.isdecimal():
            value = cast(Any, value)[int(name)]
        else:
            raise LookupError(pointer)
    return value
