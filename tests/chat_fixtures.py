"""A chat-completions server as a fixture: one a file, and an environment that names no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chat_server import ChatServer, chat_server


@pytest.fixture(scope="module")
def running() -> Iterator[ChatServer]:
    with chat_server() as server:
        yield server


@pytest.fixture
def server(running: ChatServer, monkeypatch: pytest.MonkeyPatch) -> ChatServer:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return running
