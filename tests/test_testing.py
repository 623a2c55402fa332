"""The scripted backend: it does what the script says and records what it was sent."""

from __future__ import annotations

import pytest

from agentkit import (
    Agent,
    AnswerMessage,
    BackendError,
    Draft,
    EmptyTurn,
    History,
    ResultMessage,
    UserMessage,
    tool,
)
from agentkit.testing import ScriptedAnswer, ScriptedBackend, ScriptedCall, answer, call


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def test_the_helpers() -> None:
    assert call("add", tool=1, a=2) == ScriptedCall("add", {"tool": 1, "a": 2})
    assert answer("3") == ScriptedAnswer("3")


async def test_it_records_what_it_was_sent() -> None:
    backend = ScriptedBackend([call("add", a=1, b=2), answer("3"), answer("unused")])
    agent = Agent(instructions="Be brief.", tools=[add], backend=backend, steps=4)
    result = await agent.run("What is 1 + 2?")
    [conversation] = backend.conversations
    assert conversation.instructions == "Be brief."
    assert conversation.tools == (add.spec,)
    assert conversation.messages == result.messages[:-1]
    assert conversation.steps == [4, 4]
    assert conversation.closed
    assert backend.remaining == 1
    assert not backend.closed


async def test_an_item_may_be_a_function_of_the_messages() -> None:
    def repeat(messages: History) -> ScriptedAnswer:
        last = messages[-1]
        assert isinstance(last, ResultMessage)
        return answer(f"it is {last.content}")

    agent = Agent(tools=[add], backend=ScriptedBackend([call("add", a=1, b=2), repeat]))
    assert (await agent.run("1 + 2?")).answer == "it is 3"


async def test_an_item_may_be_an_exception() -> None:
    agent = Agent(backend=ScriptedBackend([OSError("unplugged")]))
    with pytest.raises(BackendError, match="OSError: unplugged"):
        await agent.run("hi")


async def test_an_empty_answer_is_an_empty_turn() -> None:
    with pytest.raises(EmptyTurn):
        await Agent(backend=ScriptedBackend([answer("")])).run("hi")


async def test_a_script_that_runs_out_says_so() -> None:
    agent = Agent(tools=[add], backend=ScriptedBackend([call("add", a=1, b=2)]))
    with pytest.raises(BackendError, match="the script ran out: all 1 items are used"):
        await agent.run("1 + 2?")


async def test_it_drafts_from_noise_to_settled() -> None:
    backend = ScriptedBackend([call("add", a=1, b=2)])
    assert backend.capabilities.drafts
    conversation = await backend.open(instructions="", tools=[add.spec])
    await conversation.extend([UserMessage("1 + 2?")])
    drafts: list[Draft] = []
    decision = await conversation.decide(steps=2, on_draft=drafts.append)
    assert decision.forwards == 2
    assert [draft.step for draft in drafts] == [0, 1, 2]
    states = [[cell.state for cell in draft.rows[0].cells] for draft in drafts]
    assert states[0] == ["pinned", "pinned", "noise", "pinned", "noise", "pinned"]
    assert states[2] == ["pinned", "pinned", "settled", "pinned", "settled", "pinned"]
    assert "".join(cell.text for cell in drafts[2].rows[0].cells) == '{"a":1,"b":2}'


async def test_the_draft_of_an_answer_is_its_text() -> None:
    conversation = await ScriptedBackend([answer("it is 3")]).open(instructions="", tools=[])
    drafts: list[Draft] = []
    await conversation.decide(steps=1, on_draft=drafts.append)
    assert "".join(cell.text for cell in drafts[-1].rows[0].cells) == "it is 3"


async def test_a_fork_goes_on_from_the_same_messages_alone() -> None:
    backend = ScriptedBackend([answer("left"), answer("right")])
    trunk = await backend.open(instructions="", tools=[])
    await trunk.extend([UserMessage("hi")])
    branch = trunk.fork()
    await branch.extend([AnswerMessage("ho")])
    assert (await trunk.decide(steps=1)).answer == "left"
    assert (await branch.decide(steps=1)).answer == "right"
    assert trunk.messages == (UserMessage("hi"),)
    assert branch.messages == (UserMessage("hi"), AnswerMessage("ho"))


async def test_a_closed_conversation_refuses() -> None:
    conversation = await ScriptedBackend([]).open(instructions="", tools=[])
    await conversation.aclose()
    await conversation.aclose()
    with pytest.raises(BackendError, match="closed"):
        await conversation.extend([])
