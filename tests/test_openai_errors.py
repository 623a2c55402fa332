"""What goes wrong between the client and its server, and what a backend is made of.

Against a real server on loopback, and by the official client.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import anyio
import pytest
from chat_server import ChatServer, Hang, Raw, Said, refused
from chats import POINT, backend_at, decided, opened

from agentkit import BackendError, ContextTooLong
from agentkit.backend import ProposedCall
from agentkit.backends.openai import OpenAIBackend

pytest_plugins = ["chat_fixtures"]

# Errors


@pytest.mark.parametrize(
    ("status", "message", "mend"),
    [
        (401, "Incorrect API key provided", "OPENAI_API_KEY"),
        (403, "not your model", "another model"),
        (404, "The model `small` does not exist", "check the model's name"),
        (429, "slow down", "raise the quota"),
        (400, '"auto" tool choice requires --tool-call-parser', "tool calling switched on"),
        (500, "it exploded", "it exploded"),
    ],
)
async def test_a_refusal_names_the_server_its_words_and_the_mend(
    server: ChatServer, status: int, message: str, mend: str
) -> None:
    server.says(refused(message, status=status))
    with pytest.raises(BackendError) as caught:
        await decided(server)
    for part in (server.url, str(status), "'small'", message, mend):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("error", "needed", "available"),
    [
        (
            refused(
                "This model's maximum context length is 8192 tokens. However, your messages "
                "resulted in 9001 tokens.",
                code="context_length_exceeded",
            ),
            9001,
            8192,
        ),
        (
            refused(
                "This model's maximum context length is 4096 tokens. However, you requested 5000 "
                "tokens (4000 in the messages, 1000 in the completion)."
            ),
            5000,
            4096,
        ),
        (
            refused(
                "the request exceeds the available context size, try increasing it",
                type="exceed_context_size_error",
                n_prompt_tokens=4000,
                n_ctx=2048,
            ),
            4000,
            2048,
        ),
    ],
)
async def test_a_conversation_too_long_is_told_as_such(
    server: ChatServer, error: Any, needed: int, available: int
) -> None:
    server.says(error)
    with pytest.raises(ContextTooLong) as caught:
        await decided(server, output=POINT)
    assert (caught.value.needed, caught.value.available) == (needed, available)
    assert len(server.requests) == 1  # asking in other words would be no use


async def test_too_long_without_figures_is_told_all_the_same(server: ChatServer) -> None:
    server.says(refused("Context length exceeded."))
    with pytest.raises(BackendError, match="too long for the model"):
        await decided(server)


async def test_something_else_than_a_completion_is_told(server: ChatServer) -> None:
    server.says(Raw("<html>Welcome</html>"), Raw('{"ok": true}', "application/json"))
    for _ in range(2):
        with pytest.raises(BackendError, match=r"no chat completion.*`base_url`"):
            await decided(server)


async def test_no_server_is_told(server: ChatServer) -> None:
    backend = OpenAIBackend("small", base_url="http://127.0.0.1:9/v1", max_retries=0)
    conversation = await backend.open(instructions="", tools=[])
    with pytest.raises(BackendError, match=r"no connection to the server at http://127\.0\.0\.1:9"):
        await conversation.decide()


async def test_a_server_that_hangs_is_left_in_time(server: ChatServer) -> None:
    server.says(Hang())
    with pytest.raises(BackendError, match="`timeout=`"):
        await decided(server, timeout=0.05)


async def test_a_busy_server_is_asked_again(server: ChatServer) -> None:
    server.says(refused("busy", status=429), refused("broken", status=503), Said("ok"))
    assert (await decided(server, max_retries=2)).answer == "ok"


@pytest.mark.parametrize("streamed", [False, True])
async def test_cancelling_closes_the_request(server: ChatServer, streamed: bool) -> None:
    server.says(Hang(after=({"content": "Hel"},) if streamed else ()))
    conversation = await opened(server)
    drafted = anyio.Event()

    async def decide() -> None:
        await conversation.decide(on_draft=(lambda _: drafted.set()) if streamed else None)

    async with anyio.create_task_group() as group:
        group.start_soon(decide)
        await anyio.to_thread.run_sync(server.asked.wait, 5)
        if streamed:
            await drafted.wait()
        group.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(server.left.wait, 5)


async def test_nothing_is_filled_in_again(server: ChatServer) -> None:
    conversation = await opened(server)
    assert not OpenAIBackend.capabilities.refill
    with pytest.raises(BackendError, match="decide anew"):
        await conversation.refill(ProposedCall("add", {}), {"/a": "no"})


# Making one


def test_the_client_is_imported_when_a_backend_is_made() -> None:
    code = (
        "import sys, agentkit.backends.openai, agentkit.backends.fallback; "
        "print(*{'openai', 'httpx2', 'jsonschema'} & sys.modules.keys())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_a_hosted_server_needs_a_key(server: ChatServer) -> None:
    with pytest.raises(BackendError, match="OPENAI_API_KEY"):
        OpenAIBackend("small")


async def test_key_and_url_come_from_the_environment(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.says(Said("ok"))
    conversation = await OpenAIBackend("small").open(instructions="", tools=[])
    await conversation.decide()
    assert server.headers[0]["authorization"] == "Bearer from-the-environment"


async def test_a_client_of_ones_own_is_used_as_it_is(server: ChatServer) -> None:
    import openai

    server.says(Said("ok"))
    async with openai.AsyncOpenAI(api_key="mine", base_url=server.url) as client:
        backend = OpenAIBackend("small", client=client)
        await (await backend.open(instructions="", tools=[])).decide()
        await backend.aclose()
        assert not client.is_closed()
    assert server.headers[0]["authorization"] == "Bearer mine"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"model": ""}, "name the model"),
        ({"attempts": 0}, "1 attempt"),
        ({"client": object()}, "either `client=`"),
    ],
)
def test_what_makes_no_sense_is_refused(
    server: ChatServer, options: dict[str, Any], why: str
) -> None:
    asked: dict[str, Any] = {"model": "small", "base_url": server.url, **options}
    with pytest.raises(BackendError, match=why):
        OpenAIBackend(**asked)


def test_one_backend_serves_many_event_loops(server: ChatServer) -> None:
    server.says(*[Said("ok")] * 6)
    backend = backend_at(server)

    async def twice() -> list[str | None]:
        conversation = await backend.open(instructions="", tools=[])
        return [(await conversation.decide()).answer for _ in range(2)]

    assert [anyio.run(twice) for _ in range(3)] == [["ok", "ok"]] * 3


async def test_a_closed_backend_opens_connections_anew(server: ChatServer) -> None:
    server.says(Said("1"), Said("2"))
    backend = backend_at(server)
    for expected in "12":
        conversation = await backend.open(instructions="", tools=[])
        assert (await conversation.decide()).answer == expected
        await backend.aclose()
        await backend.aclose()
