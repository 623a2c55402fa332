"""Several backends as one: who goes on when one fails, with what, and what is told of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import pytest
from chat_server import Said, chat_server, refused
from loops import Fixed, add

from agentkit import (
    Agent,
    AnswerMessage,
    BackendError,
    CallFilled,
    CheckpointError,
    ContextTooLong,
    RunFinished,
    UserMessage,
)
from agentkit.backend import Backend, Capabilities, Decision, Draft, ModelSettings, ToolSpec
from agentkit.backends.fallback import FallbackBackend, FallbackConversation, fallback
from agentkit.backends.openai import OpenAIBackend
from agentkit.errors import EngineBusy, TemplateError, UnsatisfiableSchema
from agentkit.testing import ScriptedBackend, answer, call, drafted, refill

ASK = UserMessage("go")
DOWN = BackendError("down")


class Shut(ScriptedBackend):
    """Opens no conversation."""

    def __init__(self, error: BaseException = DOWN) -> None:
        super().__init__([])
        self.error = error

    async def open(self, **options: Any) -> Any:
        raise self.error


async def opened(*backends: Backend | str) -> FallbackConversation:
    conversation = await fallback(*backends).open(instructions="Be brief.", tools=[])
    await conversation.extend([ASK])
    return conversation


# Who goes on


async def test_while_the_first_works_nobody_else_is_asked() -> None:
    first, second = ScriptedBackend([answer("1"), answer("2")]), ScriptedBackend([])
    conversation = await opened(first, second)
    assert [(await conversation.decide()).answer for _ in range(2)] == ["1", "2"]
    assert second.conversations == []


@pytest.mark.parametrize(
    "error",
    [DOWN, EngineBusy(9, 9), ContextTooLong(9, 8), ConnectionRefusedError("no"), TimeoutError()],
)
async def test_where_deciding_fails_the_next_decides_on_the_same_messages(error: Exception) -> None:
    first, second = ScriptedBackend([answer("1"), error]), ScriptedBackend([answer("2")])
    conversation = await opened(first, second)
    await conversation.decide()
    await conversation.extend([AnswerMessage("1"), UserMessage("more")])
    assert (await conversation.decide()).answer == "2"
    [other] = second.conversations
    assert other.messages == (ASK, AnswerMessage("1"), UserMessage("more"))
    assert other.instructions == "Be brief."
    assert first.conversations[0].closed


@pytest.mark.parametrize("error", [DOWN, OSError("unplugged")])
async def test_where_opening_fails_the_next_is_opened(error: Exception) -> None:
    second = ScriptedBackend([answer("2")])
    conversation = await opened(Shut(error), second)
    assert (await conversation.decide()).answer == "2"


async def test_where_extending_fails_the_next_is_sent_everything() -> None:
    first, second = ScriptedBackend([answer("1")]), ScriptedBackend([answer("2")])
    conversation = await opened(first, second)
    await first.conversations[0].aclose()  # from now on it refuses
    await conversation.extend([UserMessage("more")])
    assert second.conversations[0].messages == (ASK, UserMessage("more"))


async def test_a_conversation_stays_where_it_went_and_the_next_begins_at_the_first() -> None:
    first = ScriptedBackend([DOWN, answer("1")])
    second = ScriptedBackend([answer("2"), answer("3")])
    both = FallbackBackend(first, second)
    for expected in (["2", "3"], ["1"]):
        conversation = await both.open(instructions="", tools=[])
        assert [(await conversation.decide()).answer for _ in expected] == expected


async def test_where_all_fail_the_error_lists_each_reason() -> None:
    last = EngineBusy(9, 9)
    conversation = await opened(Shut(OSError("unplugged")), ScriptedBackend([last]))
    with pytest.raises(BackendError) as caught:
        await conversation.decide()
    assert str(caught.value) == (
        f"every backend failed: Shut: OSError: unplugged; ScriptedBackend: EngineBusy: {last}"
    )
    assert caught.value.__cause__ is last
    with pytest.raises(BackendError, match="every backend failed"):
        await conversation.decide()


async def test_a_defect_is_not_covered_up() -> None:
    second = ScriptedBackend([answer("2")])
    conversation = await opened(ScriptedBackend([ZeroDivisionError("mine")]), second)
    with pytest.raises(ZeroDivisionError):
        await conversation.decide()
    assert second.conversations == []


@pytest.mark.parametrize("at", ["open", "decide"])
async def test_cancelling_is_no_failure(at: str) -> None:
    async def hang(_: object) -> Any:
        entered.set()
        await anyio.sleep_forever()

    class Hanging(ScriptedBackend):
        async def open(self, **options: Any) -> Any:
            return await (hang(None) if at == "open" else super().open(**options))

    entered, second = anyio.Event(), ScriptedBackend([answer("2")])
    outcome: list[object] = []

    async def run() -> None:
        conversation = await opened(Hanging([hang]), second)
        outcome.append(await conversation.decide())

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await entered.wait()
        group.cancel_scope.cancel()
    assert (outcome, second.conversations) == ([], [])


# What is told


async def test_the_log_and_the_decision_tell_who_went_on(caplog: pytest.LogCaptureFixture) -> None:
    second = Fixed([Decision(answer="2"), Decision(answer="3", model="big")])
    with caplog.at_level(logging.WARNING, "agentkit"):
        conversation = await opened(ScriptedBackend([DOWN]), second)
        assert (await conversation.decide()).model == "Fixed"
        assert (await conversation.decide()).model == "big"
    assert [record.message for record in caplog.records] == [
        "ScriptedBackend failed, on to Fixed: down"
    ]


async def test_drafts_are_told_of_whoever_decides() -> None:
    seen: list[Draft] = []
    conversation = await opened(ScriptedBackend([DOWN]), ScriptedBackend([answer("2")]))
    await conversation.decide(on_draft=seen.append)
    assert [draft.step for draft in seen] == [0, 1]


class Failing(ScriptedBackend):
    """Fails when all drafts of a decision are told."""

    async def open(self, **options: Any) -> Any:
        conversation = await super().open(**options)
        decide = conversation.decide

        async def fail(**how: Any) -> Any:
            await decide(**how)
            raise DOWN

        conversation.decide = fail  # type: ignore[method-assign]
        return conversation


async def test_calls_that_had_settled_are_the_decision_and_the_next_goes_on_behind_them() -> None:
    turn = [call("add", a=1, b=2), call("add", a=3, b=4)]
    second = ScriptedBackend([answer("done")])
    conversation = await opened(Failing([drafted(turn, turn, settled=1)]), second)
    decision = await conversation.decide(on_draft=lambda _: None)
    assert [item.arguments for item in decision.calls] == [{"a": 1, "b": 2}]
    assert decision.model == "Failing"
    with pytest.raises(TemplateError, match="has failed"):
        await conversation.refill(decision.calls[0], {"/a": "no"})
    assert (await conversation.decide()).answer == "done"


async def test_settled_calls_stand_even_where_nobody_is_left() -> None:
    turn = [call("add", a=1, b=2), call("add", a=3, b=4)]
    conversation = await opened(Failing([drafted(turn, turn, settled=1)]))
    assert len((await conversation.decide(on_draft=lambda _: None)).calls) == 1
    with pytest.raises(BackendError, match="every backend failed"):
        await conversation.decide()


# Refilling, forking, closing


async def test_values_are_refilled_by_who_filled_them() -> None:
    first = ScriptedBackend([call("add", a=1, b=2), refill(a=3)])
    conversation = await opened(first, ScriptedBackend([]))
    [filled] = (await conversation.decide()).calls
    [other] = (await conversation.refill(filled, {"/a": "no"})).calls
    assert other.arguments == {"a": 3, "b": 2}


async def test_an_answer_is_refilled_though_it_was_given_a_name() -> None:
    rejected: list[object] = []
    plain = Decision(answer='{"x": 1}')

    class Refilling(Fixed):
        async def open(
            self,
            *,
            instructions: str,
            tools: Sequence[ToolSpec],
            output: Mapping[str, Any] | None = None,
        ) -> Any:
            conversation: Any = await super().open(instructions=instructions, tools=tools)

            async def again(filled: object, why: object, *, settings: object) -> Decision:
                rejected.append(filled)
                return plain

            conversation.refill = again
            return conversation

    conversation = await opened(Refilling([plain]))
    named = await conversation.decide()
    assert (named.model, plain.model) == ("Refilling", "")
    assert (await conversation.refill(named, {"/x": "no"})).model == "Refilling"
    assert rejected[0] is plain


async def test_no_other_value_is_no_failure() -> None:
    first = ScriptedBackend([call("add", a=1, b=2), answer("1")])
    conversation = await opened(first, ScriptedBackend([]))
    [filled] = (await conversation.decide()).calls
    with pytest.raises(UnsatisfiableSchema):
        await conversation.refill(filled, {"/a": "no"})
    assert (await conversation.decide()).answer == "1"


async def test_where_refilling_fails_the_next_decides_anew() -> None:
    first, second = ScriptedBackend([call("add", a=1, b=2)]), ScriptedBackend([answer("2")])
    conversation = await opened(first, second)
    [filled] = (await conversation.decide()).calls
    await first.conversations[0].aclose()
    with pytest.raises(TemplateError, match="let the next backend decide"):
        await conversation.refill(filled, {"/a": "no"})
    assert (await conversation.decide()).answer == "2"


async def test_the_next_is_not_asked_to_refill_what_it_did_not_fill() -> None:
    first, second = ScriptedBackend([call("add", a=1, b=2)]), ScriptedBackend([answer("2")])
    conversation = await opened(first, second)
    [filled] = (await conversation.decide()).calls
    await first.conversations[0].aclose()
    await conversation.extend([UserMessage("more")])
    with pytest.raises(TemplateError, match="has failed"):
        await conversation.refill(filled, {"/a": "no"})
    assert (await conversation.decide()).answer == "2"


async def test_a_fork_falls_back_by_itself() -> None:
    first = ScriptedBackend([DOWN, answer("1")])
    conversation = await opened(first, ScriptedBackend([answer("2")]))
    twin = conversation.fork()
    assert (await twin.decide()).answer == "2"
    assert (await conversation.decide()).answer == "1"


async def test_closing_closes_where_it_is_and_ends_it() -> None:
    first = ScriptedBackend([])
    conversation = await opened(first)
    await conversation.aclose()
    await conversation.aclose()
    assert first.conversations[0].closed
    with pytest.raises(BackendError, match="closed"):
        await conversation.decide()
    with pytest.raises(BackendError, match="closed"):
        conversation.fork()


# The backend itself


def test_it_can_do_what_all_can() -> None:
    one = ScriptedBackend([], capabilities=Capabilities(guaranteed=True, drafts=True, fork=True))
    other = ScriptedBackend([], capabilities=Capabilities(drafts=True, refill=True, fork=True))
    assert fallback(one, other).capabilities == Capabilities(drafts=True, fork=True)
    assert fallback(one).capabilities == one.capabilities


def test_no_backends_are_refused() -> None:
    with pytest.raises(BackendError, match="one at least"):
        fallback()


async def test_names_are_made_when_they_are_needed_and_stay_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shared = ScriptedBackend([answer("2")], capabilities=Capabilities(guaranteed=True))
    mine = ScriptedBackend([DOWN], capabilities=Capabilities(guaranteed=True))

    def make(name: str) -> Backend:
        if name == "shared":
            return shared
        raise CheckpointError("no checkpoint here")

    monkeypatch.setattr("agentkit.backends.fallback.resolve_backend", make)
    several = fallback("missing", mine, "shared")
    with caplog.at_level(logging.WARNING, "agentkit"):
        conversation = await several.open(instructions="", tools=[])
        assert several.capabilities == Capabilities(guaranteed=True)
    assert (await conversation.decide()).answer == "2"
    assert [record.message for record in caplog.records if "missing" in record.message] == [
        "missing can't be fallen back on: no checkpoint here",
        "missing failed, on to ScriptedBackend: no checkpoint here",
    ]
    await several.aclose()
    assert (mine.closed, shared.closed) == (True, False)


# Together with real ones


async def test_an_agent_goes_on_at_the_next_server() -> None:
    with chat_server() as first, chat_server() as second:
        first.says(Said(calls=(("add", '{"a": 1, "b": 2}'),)), refused("gone", status=500))
        second.says(Said("three"))
        several = fallback(
            OpenAIBackend("small", base_url=first.url, max_retries=0),
            OpenAIBackend("big", base_url=second.url),
        )
        result = await Agent(tools=[add], backend=several).run("What is 1 + 2?")
        await several.aclose()
        roles = [message["role"] for message in second.last["messages"]]
    assert result.answer == "three"
    assert [message.role for message in result.messages] == ["user", "call", "result", "answer"]
    assert roles == ["user", "assistant", "tool"]


async def test_an_early_call_runs_once_though_its_backend_fails() -> None:
    turn = [call("add", a=1, b=2), call("add", a=3, b=4)]
    several = fallback(Failing([drafted(turn, turn, settled=1)]), ScriptedBackend([answer("done")]))
    settings = ModelSettings(max_calls=2)
    async with Agent(tools=[add], backend=several, settings=settings).stream("go") as events:
        seen = [event async for event in events]
    early = [event for event in seen if isinstance(event, CallFilled)]
    assert [(event.early, event.call.arguments) for event in early] == [(True, {"a": 1, "b": 2})]
    assert isinstance(seen[-1], RunFinished)
    assert seen[-1].result.answer == "done"
    assert seen[-1].result.calls == (early[0].call,)
