"""One agent file, unchanged, on every backend: in this process, on our server, on a foreign one."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import Said, called, chat_server
from serving import serving

from agentkit import Agent, Approve, Backend, RunResult
from agentkit.backends.embedded import EmbeddedBackend
from agentkit.backends.fallback import FallbackBackend
from agentkit.backends.openai import OpenAIBackend
from agentkit.backends.remote import RemoteBackend
from agentkit.terminal.loading import load_agent, load_deps
from agentkit.testing import assert_called, assert_well_formed

DESK = f"{Path(__file__).parents[1] / 'examples' / 'desk.py'}:agent"


@pytest.fixture(scope="module")
def embedded() -> Generator[EmbeddedBackend]:
    backend = EmbeddedBackend(device="cpu")
    yield backend
    backend.engine.close()


@pytest.fixture
def remote(embedded: EmbeddedBackend) -> Iterator[Backend]:
    with serving(embedded.engine) as served:
        yield RemoteBackend(served.url)


@pytest.fixture
def foreign() -> Iterator[Backend]:
    with chat_server() as server:
        booking = called("book_table", city="Lisbon", people=4)
        server.says(Said(calls=(booking,)), Said(text="It is booked."))
        yield OpenAIBackend("small", base_url=server.url)


@pytest.fixture(params=["embedded", "remote", "foreign", "fallback"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param != "fallback":
        found: Backend = request.getfixturevalue(request.param)
        return found
    gone = OpenAIBackend("small", base_url="http://127.0.0.1:9/v1", max_retries=0)
    return FallbackBackend(gone, request.getfixturevalue("embedded"))


async def test_the_desk_answers(backend: Backend) -> None:
    agent: Agent[Any, str] = load_agent(DESK).with_backend(backend)
    kinds: list[str] = []
    result: RunResult[str] = await agent.run(
        "Book a table for 4 people in Lisbon",
        deps=load_deps(DESK, "diary"),
        approve=lambda context, pending: Approve({"city": "Lisbon", "people": 4}),
        on_event=lambda event: kinds.append(type(event).__name__),
    )
    assert_called(result, "book_table")
    assert result.results[0].content.endswith("Booked: a table for 4 in Lisbon")
    assert_well_formed(result)
    assert {"CallFilled", "CallPending", "CallFinished", "Answered", "RunFinished"} <= {*kinds}
