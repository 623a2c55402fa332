"""The OpenAI-compatible backend: what is sent, what comes back, and agents on it.

Against a real server on loopback, and by the official client.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from chat_server import ChatServer, Hang, Said, called
from chats import ADD, FIND, backend_at, chat, decided, drafted, opened

from agentkit import (
    Agent,
    AnswerDraft,
    AnswerMessage,
    BackendError,
    Call,
    CallFilled,
    CallMessage,
    Message,
    ResultMessage,
    UserMessage,
    tool,
)
from agentkit.backend import ModelSettings, ProposedCall
from agentkit.message import FeedbackMessage
from agentkit.testing import ScriptedBackend, answer, call

pytest_plugins = ["chat_fixtures"]

NOTHING_LEFT = "error: this call was given up, it has no result"

# What is sent


async def test_the_first_request_tells_the_instructions_the_tools_and_the_user(
    server: ChatServer,
) -> None:
    server.says(Said("hello"))
    decision = await decided(server)
    assert (decision.answer, decision.calls) == ("hello", ())
    functions = [
        {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in (ADD, FIND)
    ]
    assert server.last == {
        "model": "small",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "go"},
        ],
        "tools": [{"type": "function", "function": function} for function in functions],
    }


async def test_without_instructions_and_tools_neither_is_sent(server: ChatServer) -> None:
    server.says(Said("hello"))
    conversation = await backend_at(server).open(instructions="", tools=[])
    await conversation.extend([UserMessage("hi")])
    await conversation.decide(settings=ModelSettings(max_calls=1))
    assert server.last == {"model": "small", "messages": [{"role": "user", "content": "hi"}]}


async def test_every_kind_of_message_has_its_chat_message(server: ChatServer) -> None:
    server.says(Said("ok"))
    history: list[Message] = [
        UserMessage("é?"),
        CallMessage((Call("1", "add", {"a": 1, "b": 2}), Call("2", "find", {"city": "Zürich"}))),
        ResultMessage("1", "add", "3"),
        ResultMessage("2", "find", "no such city", is_error=True),
        AnswerMessage("three"),
        FeedbackMessage("in digits"),
    ]
    await (await opened(server, *history)).decide()
    first, second = (
        {
            "id": "1",
            "type": "function",
            "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'},
        },
        {
            "id": "2",
            "type": "function",
            "function": {"name": "find", "arguments": '{"city": "Zürich"}'},
        },
    )
    assert chat(server) == [
        {"role": "user", "content": "é?"},
        {"role": "assistant", "content": None, "tool_calls": [first, second]},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
        {"role": "tool", "tool_call_id": "2", "content": "error: no such city"},
        {"role": "assistant", "content": "three"},
        {"role": "user", "content": "in digits"},
    ]


async def test_each_request_is_the_last_one_and_what_is_new(server: ChatServer) -> None:
    server.says(Said(calls=(called("add", a=1, b=2),)), Said("3"))
    conversation = await opened(server)
    await conversation.decide()
    await conversation.extend([CallMessage((Call("c1", "add", {"a": 1, "b": 2}),))])
    await conversation.extend([ResultMessage("c1", "add", "3")])
    assert (await conversation.decide()).answer == "3"
    assert chat(server)[:1] == chat(server, 0)
    assert [message["role"] for message in chat(server)] == ["user", "assistant", "tool"]


async def test_calls_that_were_given_up_get_a_result_before_the_next_message(
    server: ChatServer,
) -> None:
    server.says(Said("ok"), Said("ok"))
    calls = CallMessage((Call("1", "add", {}), Call("2", "add", {}), Call("3", "add", {})))
    conversation = await opened(server, calls, ResultMessage("2", "add", "3"), UserMessage("well?"))
    await conversation.decide()
    assert [(item["role"], item["content"]) for item in chat(server)[1:]] == [
        ("tool", "3"),
        ("tool", NOTHING_LEFT),
        ("tool", NOTHING_LEFT),
        ("user", "well?"),
    ]
    await conversation.extend([ResultMessage("1", "add", "late")])
    await conversation.decide()
    told = {"role": "user", "content": "An earlier call of add gave: late"}
    assert chat(server) == [*chat(server, 0), told]


async def test_calls_at_the_end_of_a_history_get_a_result_too(server: ChatServer) -> None:
    server.says(Said("ok"))
    await (await opened(server, CallMessage((Call("1", "add", {}),)))).decide()
    assert chat(server)[-1] == {"role": "tool", "tool_call_id": "1", "content": NOTHING_LEFT}


async def test_half_a_surrogate_pair_is_escaped(server: ChatServer) -> None:
    server.says(Said("ok"))
    messages: list[Message] = [
        UserMessage("a\ud800"),
        CallMessage((Call("1", "find", {"city": "\udc80"}),)),
        ResultMessage("1", "find", "\udcff.txt"),
    ]
    await (await opened(server, *messages)).decide()
    assert [message["content"] for message in chat(server)] == ["a\\ud800", None, "\\udcff.txt"]


async def test_settings_are_sent_where_they_say_something(server: ChatServer) -> None:
    server.says(Said("ok"))
    settings = ModelSettings(
        temperature=0.0, seed=3, max_tokens=9, max_calls=1, steps=4, verify="exact"
    )
    await decided(server, settings, extra_body={"top_k": 5}, logprobs=True)
    assert {name: server.last[name] for name in set(server.last) - {"tools", "messages"}} == {
        "model": "small",
        "temperature": 0.0,
        "seed": 3,
        "max_completion_tokens": 9,
        "parallel_tool_calls": False,
        "top_k": 5,
        "logprobs": True,
    }


async def test_a_fork_shares_the_past_and_goes_its_own_way(server: ChatServer) -> None:
    server.says(Said("1"), Said("2"))
    conversation = await opened(server)
    twin = conversation.fork()
    await twin.extend([UserMessage("twin")])
    await conversation.extend([UserMessage("first")])
    await conversation.aclose()
    await twin.decide()
    assert [message["content"] for message in chat(server)] == ["go", "twin"]
    with pytest.raises(BackendError, match="closed"):
        await conversation.decide()
    with pytest.raises(BackendError, match="closed"):
        conversation.fork()


# What comes back


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_decision_with_its_figures(server: ChatServer, streamed: bool) -> None:
    server.says(Said("I add.", (called("add", a=1, b=2), called("nothing", x=[1])), "tool_calls"))
    conversation = await opened(server)
    decision = await conversation.decide(on_draft=(lambda _: None) if streamed else None)
    assert decision.calls == (
        ProposedCall("add", {"a": 1, "b": 2}),
        ProposedCall("nothing", {"x": [1]}),
    )
    assert decision.answer is None
    assert (decision.prompt_tokens, decision.tokens, decision.forwards) == (11, 7, 7)
    assert decision.model == "served"
    assert decision.timings.denoise > 0 == decision.timings.encode
    assert decision.choice == {}


async def test_what_the_server_does_not_count_is_nought(server: ChatServer) -> None:
    server.says(Said("ok", usage=False))
    decision = await decided(server)
    assert (decision.prompt_tokens, decision.tokens, decision.forwards) == (0, 0, 0)


async def test_more_calls_than_allowed_are_cut(server: ChatServer) -> None:
    wanted = Said(calls=tuple(called("add", a=n, b=n) for n in range(4)))
    server.says(wanted, wanted)
    settings = ModelSettings(max_calls=2)
    decision = await decided(server, settings)
    assert [call.arguments["a"] for call in decision.calls] == [0, 1]
    again, drafts = await drafted(server, settings)
    assert again.calls == decision.calls
    assert drafts[-1].calls == decision.calls


async def test_no_arguments_at_all_are_none(server: ChatServer) -> None:
    server.says(Said(calls=(("find", ""),)))
    assert (await decided(server)).calls == (ProposedCall("find", {}),)


async def test_a_refusal_is_the_answer(server: ChatServer) -> None:
    server.says(Said(refusal="I won't."))
    assert (await decided(server)).answer == "I won't."


async def test_nothing_is_handed_on_as_nothing(server: ChatServer) -> None:
    server.says(Said(""))
    assert (await decided(server)).answer == ""


@pytest.mark.parametrize(
    ("finish", "why"), [("length", "used up its tokens"), ("content_filter", "content filter")]
)
async def test_nothing_for_a_reason_tells_it(server: ChatServer, finish: str, why: str) -> None:
    server.says(Said("", finish=finish))
    with pytest.raises(BackendError, match=why):
        await decided(server)


# An agent on it


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@dataclass
class Sum:
    value: int


def agent_at(server: ChatServer, **options: Any) -> Agent[None, Any]:
    return Agent(tools=[add], backend=backend_at(server), **options)


def test_an_agent_calls_and_answers_in_one_loop_after_another(server: ChatServer) -> None:
    server.says(*[Said(calls=(called("add", a=1, b=2),)), Said('{"value": 3}')] * 2)
    agent = agent_at(server, output=Sum)
    for _ in range(2):
        result = agent.run_sync("1 + 2?")
        assert result.output == Sum(3)
        assert [message.content for message in result.results] == ["3"]
        assert chat(server)[-1]["content"] == "3"


async def test_what_can_not_be_mended_goes_to_the_model_with_its_reason(server: ChatServer) -> None:
    server.says(*[Said(calls=(("add", "oh"),))] * 3, Said(calls=(called("sub", a=1),)), Said("no"))
    result = await agent_at(server).run("1 + 2?")
    assert result.answer == "no"
    first, second = result.results
    assert first.is_error
    assert "no JSON" in first.content
    assert second.is_error
    assert "'sub'" in second.content


async def test_a_history_that_began_elsewhere_goes_on(server: ChatServer) -> None:
    elsewhere = ScriptedBackend([call("add", a=1, b=2), answer("3")])
    began = await Agent(tools=[add], backend=elsewhere).run("1 + 2?")
    server.says(Said(calls=(called("add", a=3, b=1),)), Said("4"))
    result = await agent_at(server).run("plus 1?", history=began.history)
    assert result.answer == "4"
    ids = [item["tool_calls"][0]["id"] for item in chat(server) if item.get("tool_calls")]
    answered = [item["tool_call_id"] for item in chat(server) if item["role"] == "tool"]
    assert ids == answered
    assert len(set(ids)) == 2


async def test_a_call_starts_while_the_next_is_still_written(server: ChatServer) -> None:
    started = anyio.Event()

    @tool
    async def note(text: str) -> str:
        """Note."""
        started.set()
        return text

    text = json.dumps({"text": "early"})
    begun = [
        {"tool_calls": [{"index": n, "function": {"name": "note", "arguments": text}}]}
        for n in range(2)
    ]
    server.says(Hang(after=tuple(begun)))
    settings = ModelSettings(max_calls=2)
    agent = Agent(tools=[note], backend=backend_at(server), settings=settings)
    async with agent.stream("go") as events:
        async for event in events:
            if isinstance(event, CallFilled):
                assert event.early
                break
        await started.wait()
    assert await anyio.to_thread.run_sync(server.left.wait, 5)


async def test_partial_answers_of_an_agent_are_values(server: ChatServer) -> None:
    server.says(Said('{"value": 12345678}'))
    async with agent_at(server, output=Sum).stream("go") as events:
        seen = [event.value async for event in events if isinstance(event, AnswerDraft)]
    assert seen
    assert seen[-1] == Sum(12345678)
    assert {type(value) for value in seen} == {Sum}
