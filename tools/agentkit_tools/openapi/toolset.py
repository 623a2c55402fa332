"""Opens a document and makes a tool of each operation that is asked for and can be offered.

Knows how the parts of this package fit together, and which server is meant.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from typing import Any, cast

import anyio
import httpx2

from agentkit import DefinitionError, PluginError, Tool, Toolset
from agentkit_tools.internet.address import Refused, Rules, parsed
from agentkit_tools.internet.requesting import Limits, Requester
from agentkit_tools.openapi import OpenApiConfig
from agentkit_tools.openapi.answer import told
from agentkit_tools.openapi.arguments import Arguments, Filled
from agentkit_tools.openapi.document import JSON, BadDocument, Document, read_document
from agentkit_tools.openapi.operation import Operation, Sketch, read_operation, sketches
from agentkit_tools.openapi.security import credentials_of, hidden_by, redacted

MAX_DOCUMENT = 20_000_000
"""Bytes of a document."""
_SAFE = frozenset({"get", "head", "options", "trace"})
_log = logging.getLogger("agentkit")


@asynccontextmanager
async def opened(config: OpenApiConfig, requester: Requester | None) -> AsyncGenerator[Toolset]:
    """The operations that the configuration asks for, each a tool.

    Raises:
        PluginError: the document can't be had, or holds none of them.
        BadDocument: it is no OpenAPI document, or an operation named by itself can't be offered.
    """
    text, base = await _read(config, requester)
    document = await anyio.to_thread.run_sync(read_document, text)
    api = _Api(document, config, _server(document.root, config, base), requester)
    yield Toolset(config.name, api.tools())


async def _read(config: OpenApiConfig, requester: Requester | None) -> tuple[str, str | None]:
    """The document's text, and its URL if it has one."""
    place = config.document
    if "://" not in place:
        try:
            return await (await anyio.Path(place).expanduser()).read_text("utf-8"), None
        except (OSError, UnicodeDecodeError) as error:
            raise PluginError(f"the OpenAPI document {place!r} can't be read: {error}") from error
    try:
        url = parsed(place)
        sender = requester or Requester(
            rules=_only(url, config), limits=Limits(seconds=config.max_seconds, bytes=MAX_DOCUMENT)
        )
        reply = await sender.send("GET", url, redirects="same origin")
    except ValueError as error:
        raise PluginError(f"the OpenAPI document {place!r} can't be had: {error}") from error
    if reply.status != 200 or reply.cut:
        why = f"it has more than {MAX_DOCUMENT} bytes" if reply.cut else f"answers {reply.status}"
        raise PluginError(f"the OpenAPI document {place!r} can't be had: {why}")
    return reply.body.decode("utf-8", "replace"), str(reply.url)


def _only(url: httpx2.URL, config: OpenApiConfig) -> Rules:
    """The rules under which that one host and port is reached."""
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    return Rules(
        allow=(url.raw_host.decode(),), private=config.allow_private, ports=frozenset({port})
    )


def _server(root: JSON, config: OpenApiConfig, base: str | None) -> httpx2.URL:
    said = config.server
    if said is None:
        servers = cast("list[JSON]", root.get("servers") or [{"url": "/"}])
        said = _filled_in(servers[0], config)
    try:
        url = httpx2.URL(base).join(said) if base is not None else parsed(said)
        if url.scheme not in {"http", "https"} or not url.host:
            raise Refused(f"{said!r} has no host")
        _only(url, config).check(url)
    except (Refused, httpx2.InvalidURL) as error:
        raise BadDocument("/servers", f"{error}; give `server`, as https://host/path") from None
    return url.copy_with(query=None, fragment=None)


def _filled_in(server: JSON, config: OpenApiConfig) -> str:
    url = str(server.get("url", "/"))
    for name, said in cast("JSON", server.get("variables") or {}).items():
        value = config.variables.get(name, str(said.get("default", "")))
        if "enum" in said and value not in said["enum"]:
            known = ", ".join(map(str, said["enum"]))
            raise BadDocument("/servers", f"variable {name!r} is {value!r}, and none of: {known}")
        url = url.replace(f"{{{name}}}", value)
    return url


class _Api:
    def __init__(
        self,
        document: Document,
        config: OpenApiConfig,
        server: httpx2.URL,
        requester: Requester | None,
    ) -> None:
        self._document, self._config, self._server = document, config, server
        self._sender = requester or Requester(
            rules=_only(server, config),
            limits=Limits(seconds=config.max_seconds, bytes=config.max_bytes),
        )

    def tools(self) -> list[Tool[..., Any]]:
        made: list[Tool[..., Any]] = []
        asked = [one for one in sketches(self._document) if self._is_asked_for(one)]
        for sketch in asked:
            try:
                made.append(self._tool(read_operation(self._document, sketch)))
            except DefinitionError as error:
                if sketch.name in self._config.operations:
                    raise
                _log.warning("operation %r is not offered: %s", sketch.name, error)
        missing = [
            name
            for name in self._config.operations
            if not any(fnmatchcase(one.name, name) for one in asked)
        ]
        if missing or not made:
            what = ", ".join(map(repr, missing)) or "none that can be offered"
            raise PluginError(
                f"the OpenAPI document {self._config.document!r} has no such operations: {what}; "
                f"mend `operations`, `tags` or `methods` (now {', '.join(self._config.methods)})"
            )
        return made

    def _is_asked_for(self, sketch: Sketch) -> bool:
        config = self._config
        return (
            sketch.method in config.methods
            and (not config.tags or not sketch.tags.isdisjoint(config.tags))
            and (
                not config.operations
                or any(fnmatchcase(sketch.name, pattern) for pattern in config.operations)
            )
        )

    def _tool(self, operation: Operation) -> Tool[..., Any]:
        if operation.servers:
            self._check_servers(operation)
        credentials = credentials_of(self._document, operation, self._config.secrets)
        arguments = Arguments(self._document, operation, hidden_by(credentials))

        async def call(**given: Any) -> str:
            filled = arguments.fill(given)
            for credential in credentials:
                credential.add(filled)
            return await self._called(operation, filled)

        return Tool.from_schema(
            operation.name,
            operation.description,
            arguments.schema,
            call,
            timeout=self._config.max_seconds + 5,
            approval=self._config.approval and operation.method not in _SAFE,
        )

    def _check_servers(self, operation: Operation) -> None:
        """An operation elsewhere would take the secrets there."""
        for server in operation.servers:
            url = self._server.join(_filled_in(server, self._config))
            if (url.scheme, url.host, url.port, url.path.rstrip("/")) == (
                self._server.scheme,
                self._server.host,
                self._server.port,
                self._server.path.rstrip("/"),
            ):
                return
        raise BadDocument(operation.pointer, f"its server is another than {self._server}")

    async def _called(self, operation: Operation, filled: Filled) -> str:
        query = "?" + "&".join(filled.query) if filled.query else ""
        secrets = self._config.secrets
        try:
            url = parsed(str(self._server).rstrip("/") + filled.path + query)
            reply = await self._sender.send(
                operation.method.upper(),
                url,
                headers={"accept": "application/json, */*;q=0.5", **filled.headers},
                content=filled.content,
                redirects="same origin" if operation.method in {"get", "head"} else "none",
            )
            return redacted(told(reply, limit=self._config.max_characters), secrets)
        except ValueError as error:
            said = redacted(str(error), secrets)
            raise ValueError(f"{operation.method.upper()} {operation.path}: {said}") from None
