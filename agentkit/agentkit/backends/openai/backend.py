"""Chat completions behind the loop's one seam: conversations that are decided by a served model.

Knows the protocol of backends, and puts a server's replies in its terms. A served model promises
nothing: what it writes is checked here, and it is told of its mistakes before anyone else is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from agentkit.backend import (
    Capabilities,
    Decision,
    ModelSettings,
    OnDraft,
    ProposedCall,
    Timings,
    ToolSpec,
)
from agentkit.backends.openai.dialect import OutputFormat
from agentkit.backends.openai.reading import Drafts, Found, Reader, correction
from agentkit.backends.openai.reply import Reply
from agentkit.backends.openai.transcript import Transcript
from agentkit.errors import BackendError
from agentkit.message import Message

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from agentkit.backends.openai.server import Question, Server


class OpenAIBackend:
    """A model that an OpenAI-compatible server has: hosted, or vLLM, NIM, llama.cpp and others.

    Args:
        model: its name there.
        base_url: of the server, up to where `/chat/completions` begins; by default that of the
            environment variable OPENAI_BASE_URL, else the hosted one.
        api_key: by default that of OPENAI_API_KEY; a server named by its URL may do without.
        client: takes the place of the two, for what they can't say, and has a `timeout` and
            `max_retries` of its own. It belongs to one event loop; who made it closes it.
        attempts: requests of one decision, at most: a reply whose arguments are no JSON object, or
            whose answer is not of the schema, is asked for again, and the model told why. After
            the last, it is handed on as it is.
        output_format: how the server is asked for answers of a schema; where it refuses, a looser
            way is tried and remembered. A server that holds a model to the schema even where it
            would rather call a tool, as releases of vLLM do, needs "words".
        logprobs: ask for the probabilities of tokens, and tell the confidence of calls by them.
        timeout: seconds for one request; None leaves it to the client.
        max_retries: of a request that found no connection, a busy server or a broken one.
        extra_body: sent along with every request, for what only this server knows.

    Of the settings, `steps` and `verify` say nothing to a model that writes token by token, and of
    more than `max_calls` calls the first are kept.

    Raises:
        BackendError: the client is not installed, or there is neither a key nor a URL.
    """

    capabilities = Capabilities(
        guaranteed=False, drafts=True, refill=False, fork=True, several=True
    )

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        client: AsyncOpenAI | None = None,
        attempts: int = 3,
        output_format: OutputFormat = "strict",
        logprobs: bool = False,
        timeout: float | None = None,
        max_retries: int = 2,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        if not model or attempts < 1:
            raise BackendError(
                f"OpenAIBackend({model!r}, attempts={attempts!r}) can ask nothing; name the model, "
                "and allow 1 attempt or more"
            )
        if client is not None and (base_url is not None or api_key is not None):
            raise BackendError("give either `client=`, or `base_url=` and `api_key=`")
        limit = {} if timeout is None else {"timeout": timeout}
        self._server = _server(
            model,
            base_url=base_url,
            api_key=api_key,
            client=client,
            options={"max_retries": max_retries, **limit},
            output_format=output_format,
            extra_body=extra_body,
        )
        self._attempts = attempts
        self._logprobs = logprobs

    @property
    def model(self) -> str:
        """The model's name at the server."""
        return self._server.model

    @property
    def base_url(self) -> str:
        """Where the server is."""
        return self._server.base_url

    async def open(
        self,
        *,
        instructions: str,
        tools: Sequence[ToolSpec],
        output: Mapping[str, Any] | None = None,
    ) -> OpenAIConversation:
        """Start a conversation; nothing is sent yet.

        Raises:
            UnsupportedSchema: the output's schema is none.
        """
        from agentkit.backends.openai.server import Question

        question = Question.of(instructions, tools, output)
        reader = Reader({tool.name: tool for tool in tools}, question.check)
        asked = {"logprobs": True} if self._logprobs else {}
        return OpenAIConversation(self._server, question, reader, self._attempts, asked)

    async def aclose(self) -> None:
        """Close the connections of the running event loop; others close when their loop ends."""
        await self._server.aclose()


class OpenAIConversation:
    """Messages, and a server that is asked what comes next."""

    def __init__(
        self,
        server: Server,
        question: Question,
        reader: Reader,
        attempts: int,
        asked: Mapping[str, Any],
        transcript: Transcript | None = None,
    ) -> None:
        self._server = server
        self._question = question
        self._reader = reader
        self._attempts = attempts
        self._asked = asked
        self._transcript = transcript or Transcript()
        self._closed = False

    async def extend(self, messages: Sequence[Message]) -> None:
        """Append messages; they are sent with the next decision."""
        self._check_open()
        for message in messages:
            self._transcript.add(message)

    async def decide(
        self, *, settings: ModelSettings = ModelSettings(), on_draft: OnDraft | None = None
    ) -> Decision:
        """Ask for calls or an answer, and again where the reply is malformed.

        Raises:
            BackendError: the server does not reply, or with nothing that can be used.
            ContextTooLong: the conversation is longer than the model attends to.
        """
        self._check_open()
        started = perf_counter()
        most = settings.max_calls
        drafts = None if on_draft is None else Drafts(self._reader, most, on_draft)
        chat = self._transcript.messages()
        options = self._options(settings)
        left, tokens = self._attempts, 0
        while True:
            reply = await self._server.ask(self._question, options, chat, drafts)
            left -= 1
            tokens += reply.tokens
            found = self._reader.read(reply, most)
            told = () if drafts is None else drafts.calls
            # A call that was told may have been started, and more room is not to be had by asking.
            if not (found.fault and left) or told or reply.finish == "length":
                break
            chat += correction(reply, found.fault)
        self._check(reply, found, told)
        return Decision(
            calls=found.calls,
            answer=found.answer,
            choice=found.choice,
            forwards=tokens,
            tokens=tokens,
            timings=Timings(denoise=perf_counter() - started),
            prompt_tokens=reply.prompt_tokens,
            model=reply.model or self._server.model,
        )

    async def refill(
        self,
        filled: ProposedCall | Decision,
        rejected: Mapping[str, str],
        *,
        settings: ModelSettings = ModelSettings(),
    ) -> Decision:
        """A model that writes from left to right can't.

        Raises:
            BackendError: always.
        """
        raise BackendError(
            "a model behind chat completions can't fill single values again; let it decide anew"
        )

    def fork(self) -> OpenAIConversation:
        """A second conversation that goes on from the same messages."""
        self._check_open()
        return OpenAIConversation(
            self._server,
            self._question,
            self._reader,
            self._attempts,
            self._asked,
            self._transcript.fork(),
        )

    async def aclose(self) -> None:
        """Let go of the messages."""
        self._closed = True
        self._transcript = Transcript()

    def _check_open(self) -> None:
        if self._closed:
            raise BackendError("the conversation is closed; open another one")

    def _options(self, settings: ModelSettings) -> dict[str, Any]:
        given = {
            "temperature": settings.temperature,
            "seed": settings.seed,
            "max_completion_tokens": settings.max_tokens,
        }
        options = {name: value for name, value in given.items() if value is not None}
        if self._question.tools and settings.max_calls == 1:
            options["parallel_tool_calls"] = False
        return {**self._asked, **options}

    def _check(self, reply: Reply, found: Found, told: tuple[ProposedCall, ...]) -> None:
        """Refuse what must not be handed on."""
        if found.calls[: len(told)] != told:
            raise BackendError(f"{self._server.name} took back a call that it had completed")
        if found.calls or found.answer:
            return
        if reply.finish == "length":
            raise BackendError(
                f"{self._server.model!r} used up its tokens before it called or answered anything; "
                "allow more with `ModelSettings(max_tokens=...)`"
            )
        if reply.finish == "content_filter":
            raise BackendError(f"a content filter of {self._server.name} held the reply back")


def _server(model: str, **given: Any) -> Server:
    try:
        from agentkit.backends.openai.server import Server
    except ImportError as error:
        raise BackendError(
            f"a backend for OpenAI-compatible servers needs what is not installed: {error}; "
            "install it with `pip install 'agentkit-diffusion[openai]'`"
        ) from error
    return Server(model, **given)
