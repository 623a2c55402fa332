"""Backends by name: made when first asked for, once a process, whoever asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import agentkit.backends
from agentkit import Agent, BackendError, CheckpointError
from agentkit.backends import resolve_backend
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
    values = {function.__name__: f"{__name__}:{function.__name__}" for function in functions}
    monkeypatch.setattr(agentkit.backends, "_FACTORIES", values)
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
