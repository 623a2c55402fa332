"""One server, asked by the official client for one reply after another.

Knows the client, and how requests are put so that this server takes them. Must not know
conversations, nor what a reply is good for. Importing it imports the client, which takes a while.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx2
import openai

from agentkit.backend import ToolSpec
from agentkit.backends.openai.checking import Check
from agentkit.backends.openai.dialect import Dialect, OutputFormat, Wording
from agentkit.backends.openai.failures import explained, is_too_long, message_of
from agentkit.backends.openai.reply import Reply
from agentkit.backends.openai.transcript import Chat, declared, said
from agentkit.backends.per_loop import PerLoop
from agentkit.errors import BackendError

_REFUSED = (400, 422, 501)


@dataclass(frozen=True, slots=True)
class Question:
    """What stays the same over the requests of a conversation.

    schema: the answers', if they have one; as text too, and compiled.
    """

    instructions: str
    tools: tuple[dict[str, Any], ...]
    schema: Mapping[str, Any] | None
    schema_text: str
    check: Check | None

    @classmethod
    def of(
        cls, instructions: str, tools: Sequence[ToolSpec], schema: Mapping[str, Any] | None
    ) -> Question:
        """What a conversation is opened with, made ready.

        Raises:
            UnsupportedSchema: the schema is none.
        """
        return cls(
            instructions,
            tuple(declared(tool) for tool in tools),
            schema,
            "" if schema is None else json.dumps(schema, sort_keys=True),
            None if schema is None else Check(schema),
        )

    def request(self, wording: Wording, options: Mapping[str, Any], chat: list[Chat]) -> Chat:
        """The parameters of one request."""
        instructions = wording.instructions(self.instructions, self.schema)
        told = [said("system", instructions)] if instructions else []
        offered = {"tools": self.tools} if self.tools else {}
        return {**wording.options(options, self.schema), **offered, "messages": [*told, *chat]}


class Server:
    """Where a model is served. Serves any number of event loops."""

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None,
        api_key: str | None,
        client: openai.AsyncOpenAI | None,
        options: Mapping[str, Any],
        output_format: OutputFormat,
        extra_body: Mapping[str, Any] | None,
    ) -> None:
        self.model = model
        self._extra_body = extra_body
        self._dialect = Dialect(output_format)
        self._given = client
        known = client or _client(base_url, api_key, options)
        self.base_url = str(known.base_url).rstrip("/")
        self.name = f"the server at {self.base_url}"
        self._clients = PerLoop(
            lambda: known.copy(http_client=_connections()), openai.AsyncOpenAI.close
        )

    async def ask(
        self,
        question: Question,
        options: Mapping[str, Any],
        chat: list[Chat],
        watch: Callable[[Reply], None] | None = None,
    ) -> Reply:
        """One reply; asked for again in simpler words where the server refuses the first.

        watch: called as the reply grows, which is then streamed.

        Raises:
            BackendError: there is no reply; says why.
            ContextTooLong: the conversation is longer than the model attends to.
        """
        if watch is not None:
            options = {**options, "stream_options": {"include_usage": True}}
        wording: Wording | None = self._dialect.wording(question.schema_text)
        refused: openai.APIStatusError | None = None
        with explained(self.name, self.model):
            while wording is not None:
                request = question.request(wording, options, chat)
                try:
                    reply = await self._send(request, watch)
                except openai.APIStatusError as error:
                    refused = refused or error
                    if error.status_code not in _REFUSED or is_too_long(error):
                        raise refused from None
                    text = f"{error.param} {message_of(error)}"
                    wording = wording.after(text, options, schema=question.schema is not None)
                else:
                    self._dialect.learn(question.schema_text, wording)
                    return reply
            assert refused is not None
            raise refused  # the first word is the truest: what came after asked for less

    async def aclose(self) -> None:
        """Close the running loop's connections; those of another loop close when it shuts down."""
        await self._clients.aclose()

    async def _send(self, request: Chat, watch: Callable[[Reply], None] | None) -> Reply:
        client = self._given or await self._clients.get()
        completions: Any = client.chat.completions
        parameters: Any = {"model": self.model, "extra_body": self._extra_body, **request}
        reply = Reply()
        if watch is None:
            reply.read(await completions.create(**parameters))
            return reply
        async with await completions.create(stream=True, **parameters) as stream:
            async for chunk in stream:
                if reply.add(chunk):
                    watch(reply)
        if not reply.finish:
            raise BackendError(f"{self.name} ended the stream before the reply had ended")
        return reply


@cache
def _certificates() -> ssl.SSLContext:
    return httpx2.create_ssl_context()  # by far the dearest part of a client


def _connections() -> httpx2.AsyncClient:
    return openai.DefaultAsyncHttpxClient(verify=_certificates())


def _client(
    base_url: str | None,
    api_key: str | None,
    options: Mapping[str, Any],
) -> openai.AsyncOpenAI:
    """A client as the options and the environment say. Servers of one's own need no key."""
    if (base_url or os.environ.get("OPENAI_BASE_URL")) and not os.environ.get("OPENAI_API_KEY"):
        api_key = api_key or "no key"
    try:
        return openai.AsyncOpenAI(
            base_url=base_url, api_key=api_key, http_client=_connections(), **options
        )
    except openai.OpenAIError as error:
        raise BackendError(
            "there is no key; set the environment variable OPENAI_API_KEY or give `api_key=`, or "
            "name a server of your own with `base_url=` or OPENAI_BASE_URL"
        ) from error
