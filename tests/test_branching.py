"""Branches: several continuations of one conversation; conversations kept in a store."""

from __future__ import annotations

import pytest

from agentkit import (
    Agent,
    AnswerMessage,
    Approve,
    Branch,
    Capabilities,
    EmptyTurn,
    History,
    MemoryStore,
    ModelSettings,
    Resume,
    RunError,
    RunResult,
    UserMessage,
    tool,
)
from agentkit.testing import ScriptedAnswer, ScriptedBackend, answer, call

HISTORY: History = (UserMessage("hello"), AnswerMessage("hi"))


def echo(messages: History) -> ScriptedAnswer:
    last = messages[-1]
    assert isinstance(last, UserMessage)
    return answer(f"{last.text}!")


async def test_branches_share_what_they_have_in_common() -> None:
    backend = ScriptedBackend([echo, echo, echo])
    found = await Agent(backend=backend).branch(["a", "b", "c"], history=HISTORY)
    outputs = [result.output for result in found if isinstance(result, RunResult)]
    assert outputs == ["a!", "b!", "c!"]
    first, *others = backend.conversations
    assert first.extended[0] == HISTORY
    assert all(other.extended[0] == HISTORY for other in others)
    assert len(backend.conversations) == 3
    assert all(conversation.closed for conversation in backend.conversations)
    best = max((r for r in found if isinstance(r, RunResult)), key=lambda r: r.output)
    assert best.history == (*HISTORY, UserMessage("c"), AnswerMessage("c!"))


async def test_a_backend_that_cant_fork_is_sent_the_history_again() -> None:
    backend = ScriptedBackend([echo, echo], capabilities=Capabilities())
    found = await Agent(backend=backend).branch(["a", "b"], history=HISTORY)
    assert [getattr(result, "answer", "") for result in found] == ["a!", "b!"]
    assert [conversation.messages[:2] for conversation in backend.conversations] == [HISTORY] * 2


async def test_one_request_with_several_settings() -> None:
    backend = ScriptedBackend([answer("x"), answer("y")])
    branches = [Branch("go", ModelSettings(seed=seed)) for seed in (1, 2)]
    await Agent(backend=backend).branch(branches)
    assert [c.settings[0].seed for c in backend.conversations] == [1, 2]


async def test_an_error_stands_in_the_place_of_a_result() -> None:
    def some(messages: History) -> ScriptedAnswer:
        last = messages[-1]
        return answer("" if isinstance(last, UserMessage) and last.text == "a" else "fine")

    backend = ScriptedBackend([some, some])
    first, second = await Agent(backend=backend).branch(["a", "b"])
    assert isinstance(first, EmptyTurn)
    assert isinstance(second, RunResult)


# --- stores


async def test_a_conversation_goes_on_from_run_to_run() -> None:
    store = MemoryStore()
    backend = ScriptedBackend([answer("hi"), answer("fine")])
    agent = Agent(backend=backend, store=store)
    await agent.run("hello", conversation="ann")
    result = await agent.run("how are you?", conversation="ann")
    assert result.history == (*HISTORY, UserMessage("how are you?"), AnswerMessage("fine"))
    assert result.new_messages == result.history[2:]
    assert await store.load("ann") == result.history
    assert backend.conversations[1].messages == result.history[:-1]


async def test_work_that_is_done_is_kept_when_the_run_fails() -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    store = MemoryStore()
    backend = ScriptedBackend([call("add", a=1, b=2), OSError("unplugged")])
    with pytest.raises(Exception, match="unplugged"):
        await Agent(tools=[add], backend=backend, store=store).run("go", conversation="ann")
    assert len(await store.load("ann")) == 3


async def test_a_paused_conversation_is_resumed_from_its_store() -> None:
    @tool(approval=True)
    def remove(path: str) -> str:
        """Remove."""
        return "removed"

    store = MemoryStore()
    backend = ScriptedBackend([call("remove", path="a"), answer("ok")])
    agent = Agent(tools=[remove], backend=backend, store=store)
    first = await agent.run("go", conversation="ann")
    assert first.status == "paused"
    last = await agent.run(Resume({"call_1": Approve()}), conversation="ann")
    assert last.output == "ok"
    assert await store.load("ann") == last.history


async def test_a_conversation_needs_a_store_and_holds_its_own_history() -> None:
    with pytest.raises(RunError, match="make the agent with `store=`"):
        await Agent(backend=ScriptedBackend([])).run("go", conversation="ann")
    agent = Agent(backend=ScriptedBackend([]), store=MemoryStore())
    with pytest.raises(RunError, match="give no `history`"):
        await agent.run("go", conversation="ann", history=HISTORY)
