"""Keeps secrets out of what is told.

Secret are fields of pydantic's `SecretStr` and `SecretBytes`, fields that say `repr=False`, and the
password within a URL. Knows fields and values; must not know where values come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast, get_args

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

HIDDEN = "**********"
_PASSWORD = re.compile(r"(?<=://)([^/?#\s:@]*):[^/?#\s@]+(?=@)")


def is_secret(field: FieldInfo) -> bool:
    """Whether no value of a field may be told."""
    return not field.repr or _holds_secrets(field.annotation)


def secrets_in(config: type[BaseModel], given: Mapping[str, Any]) -> Iterator[str]:
    """The texts that are given for secret fields, those of nested models included."""
    for name, field in config.model_fields.items():
        value = given.get(name)
        if is_secret(field):
            yield from _texts(value)
        elif isinstance(value, Mapping):
            for kind in (field.annotation, *get_args(field.annotation)):
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    yield from secrets_in(kind, cast("Mapping[str, Any]", value))


def hidden(text: str, secrets: Sequence[str]) -> str:
    """The text without these secrets, and without passwords of URLs."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, HIDDEN)
    return _PASSWORD.sub(rf"\1:{HIDDEN}", text)


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with each text in it changed; keys stay."""
    match value:
        case str():
            return change(value)
        case list():
            return [mapped(one, change) for one in cast("Sequence[Any]", value)]
        case dict():
            members = cast("Mapping[str, Any]", value)
            return {key: mapped(one, change) for key, one in members.items()}
        case _:
            return value


def _holds_secrets(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, SecretStr | SecretBytes):
        return True
    return any(map(_holds_secrets, get_args(annotation)))


def _texts(value: Any) -> Iterator[str]:
    match value:
        case SecretStr():
            yield from _texts(value.get_secret_value())
        case SecretBytes():
            yield from _texts(value.get_secret_value().decode("utf-8", "replace"))
        case str() if value:
            yield value
        case dict():
            for one in cast("dict[str, Any]", value).values():
                yield from _texts(one)
        case list() | tuple():
            for one in cast("Sequence[Any]", value):
                yield from _texts(one)
        case _:
            return
