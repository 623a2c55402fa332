"""Backends by name: made when first asked for, once a process, whoever asks."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import agentkit.backends
from agentkit import Agent, BackendError, CheckpointError
from agentkit.backends import _Factory, resolve_backend
from agentkit.backends.openai import OpenAIBackend
from agentkit.backends.remote import RemoteBackend
from agentkit.testing import ScriptedBackend, answer

made: list[ScriptedBackend] = []


def slow() -> ScriptedBackend:
    time.sleep(0.02)
    made.append(ScriptedBackend([answer("hello")] * 50))
    return made[-1]


def uninstalled() -> ScriptedBackend:
    raise ModuleNotFoundError("No module named 'torch'")


def missing() -> ScriptedBackend:
    raise CheckpointError("no checkpoint here")


def broken() -> ScriptedBackend:
    raise OSError("no memory")


@pytest.fixture(autouse=True)
def factories(monkeypatch: pytest.MonkeyPatch) -> None:
    made.clear()
    functions: list[Callable[[], Any]] = [slow, uninstalled, missing, broken]
    places = {it.__name__: _Factory(f"{__name__}:{it.__name__}", "engine") for it in functions}
    monkeypatch.setattr(agentkit.backends, "_NAMED", places)
    monkeypatch.setattr(agentkit.backends, "_made", {})


def test_a_backend_is_made_once_by_however_many_threads() -> None:
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(resolve_backend("slow"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert found == made * 8


def test_agents_share_it_over_event_loops_and_close_it_never() -> None:
    for _ in range(2):
        agent = Agent(backend="slow")
        assert agent.run_sync("hi").answer == "hello"
        assert agent.run_sync("hi").answer == "hello"
    [backend] = made
    assert len(backend.conversations) == 4
    assert not backend.closed


async def test_overlapping_first_runs_make_it_once() -> None:
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(Agent(backend="slow").run, "hi")
    assert len(made) == 1


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [
        ("uninstalled", BackendError, r"No module named 'torch'; install it with `pip install"),
        ("missing", CheckpointError, r"no checkpoint here"),
        ("broken", BackendError, r"can't be made: OSError: no memory"),
        ("nothing", BackendError, r"no backend is named 'nothing'; known: 'broken', 'missing'"),
        ("openai", BackendError, r"no backend is named 'openai'; .* 'openai:MODEL'"),
        ("openai:", BackendError, r"no backend is named 'openai:'"),
        ("https://", BackendError, r"no backend is named 'https://'"),
    ],
)
async def test_a_backend_that_can_not_be_made_is_told(
    name: str, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        await Agent(backend=name).run("hi")


def test_making_an_agent_makes_no_backend() -> None:
    Agent(backend="slow")
    assert made == []


@pytest.mark.parametrize(
    ("name", "model", "url"),
    [
        ("openai:small", "small", "https://from.the/environment"),
        ("openai:org/small:v2@main", "org/small:v2@main", "https://from.the/environment"),
        ("openai:small@http://localhost:8000/v1", "small", "http://localhost:8000/v1"),
        ("openai:a@b@https://host/v1", "a@b", "https://host/v1"),
    ],
)
def test_a_model_behind_chat_completions_is_named_with_or_without_its_server(
    name: str, model: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://from.the/environment")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    backend = resolve_backend(name)
    assert isinstance(backend, OpenAIBackend)
    assert backend is resolve_backend(name)
    assert (backend.model, backend.base_url) == (model, url)


def test_without_a_key_a_hosted_model_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BackendError, match="OPENAI_API_KEY"):
        resolve_backend("openai:small")


def test_what_a_served_model_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "agentkit.backends.openai.server", raising=False)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(BackendError, match=r"pip install 'agentkit-diffusion\[openai\]'"):
        resolve_backend("openai:small")


@pytest.mark.parametrize("url", ["http://localhost:8000", "https://host/agents"])
def test_a_url_names_a_server_of_this_project(url: str) -> None:
    assert isinstance(resolve_backend(url), RemoteBackend)
