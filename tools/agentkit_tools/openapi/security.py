"""Security schemes and the secrets for them: what is added to a request, and hidden from a model.

Knows OpenAPI's schemes. No secret is ever part of a schema, an error or a result.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast
from urllib.parse import quote

from pydantic import SecretStr

from agentkit_tools.openapi.arguments import Filled, Hidden
from agentkit_tools.openapi.document import JSON, BadDocument, Document, step
from agentkit_tools.openapi.operation import Operation

_Where: TypeAlias = Literal["query", "header", "cookie"]
_REDACTED = "[secret]"
_SHORTEST = 4
"""Characters of a secret that is taken out of answers; shorter ones stand there by chance."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A value that a request carries."""

    place: _Where
    name: str
    value: str

    def add(self, filled: Filled) -> None:
        """Put it where it goes."""
        if self.place == "query":
            filled.query.append(f"{quote(self.name, safe='')}={quote(self.value, safe='')}")
        elif self.place == "cookie":
            before = filled.headers.get("cookie")
            mine = f"{quote(self.name, safe='')}={quote(self.value, safe='')}"
            filled.headers["cookie"] = f"{before}; {mine}" if before else mine
        else:
            filled.headers[self.name] = self.value


def credentials_of(
    document: Document, operation: Operation, secrets: Mapping[str, SecretStr]
) -> tuple[Credential, ...]:
    """What a call of an operation carries: for the first alternative that secrets are there for.

    Raises:
        BadDocument: there are none for any; names the schemes.
    """
    if not operation.security:
        return ()
    for schemes in operation.security:
        if schemes <= secrets.keys() and schemes:
            return tuple(_credential(document, name, secrets[name]) for name in sorted(schemes))
    if frozenset[str]() in operation.security:
        return ()  # it may be called by anyone
    needed = " or ".join(" and ".join(map(repr, sorted(one))) for one in operation.security)
    raise BadDocument(
        step(operation.pointer, "security"), f"it needs a secret for {needed}; give `secrets`"
    )


def _credential(document: Document, name: str, secret: SecretStr) -> Credential:
    pointer = step("/components/securitySchemes", name)
    holder = cast("JSON", document.root.get("components") or {})
    schemes = cast("JSON", holder.get("securitySchemes") or {})
    said, pointer = document.resolved(schemes.get(name), pointer)
    value = secret.get_secret_value()
    if not value.isprintable() or not value.isascii():
        raise BadDocument(pointer, f"the secret for {name!r} is no line of ASCII; mend it")
    kind, scheme = said.get("type"), str(said.get("scheme") or "").lower()
    if kind == "apiKey" and said.get("in") in {"query", "header", "cookie"}:
        return Credential(cast("_Where", said["in"]), str(said.get("name")), value)
    if kind in {"oauth2", "openIdConnect"} or (kind == "http" and scheme == "bearer"):
        return Credential("header", "authorization", f"Bearer {value}")
    if kind == "http" and scheme == "basic":
        packed = base64.b64encode(value.encode()).decode()
        return Credential("header", "authorization", f"Basic {packed}")
    raise BadDocument(pointer, f"{scheme or kind!r} is no scheme that can be used; leave it out")


def hidden_by(credentials: tuple[Credential, ...]) -> Hidden:
    """The parameters that a model does not fill in."""
    return frozenset((one.place, one.name) for one in credentials)


def redacted(text: str, secrets: Mapping[str, SecretStr]) -> str:
    """The text without what is secret, which a server may repeat."""
    for secret in secrets.values():
        value = secret.get_secret_value()
        parts = [value, *value.split(":", 1), base64.b64encode(value.encode()).decode()]
        for part in sorted(parts, key=len, reverse=True):
            if len(part) >= _SHORTEST:
                text = text.replace(part, _REDACTED)
    return text
