"""The embedded backend against the loop's protocol: settings, drafts, refills, cancelling."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest
from fillings import counted

from agentkit.backend import Decision, Draft, ModelSettings, ProposedCall, ToolSpec
from agentkit.backends.embedded import EmbeddedBackend, EmbeddedConversation
from agentkit.errors import BackendError, TemplateError, UnsatisfiableSchema, UnsupportedSchema
from agentkit.message import (
    AnswerMessage,
    Call,
    CallMessage,
    FeedbackMessage,
    Message,
    ResultMessage,
    UserMessage,
)
from agentkit_engine import Engine
from agentkit_tools.calculator import toolset as calculator
from agentkit_tools.clock import toolset as clock

TOOLS = [
    ToolSpec(tool.name, tool.description, dict(tool.parameters)) for tool in (*calculator, *clock)
]
PARAMETERS = {tool.name: tool.parameters for tool in TOOLS}
ASKED = "How many days are there between 2026-01-05 and 2026-03-01?"
TABLE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "people": {"type": "integer", "minimum": 1, "maximum": 20},
    },
    "required": ["city", "people"],
}


@pytest.fixture(scope="module")
def backend() -> EmbeddedBackend:
    return EmbeddedBackend(device="cpu", batch="whole")


@pytest.fixture
def engine(backend: EmbeddedBackend) -> Engine:
    return backend.engine


async def opened(
    backend: EmbeddedBackend,
    *said: Message | str,
    tools: Sequence[ToolSpec] = TOOLS,
    output: dict[str, Any] | None = None,
) -> EmbeddedConversation:
    conversation = await backend.open(instructions="", tools=tools, output=output)
    messages: list[Message] = [UserMessage(one) if isinstance(one, str) else one for one in said]
    await conversation.extend(messages)
    return conversation


async def called(
    backend: EmbeddedBackend, request: str = ASKED
) -> tuple[EmbeddedConversation, ProposedCall]:
    conversation = await opened(backend, request)
    decision = await conversation.decide()
    return conversation, decision.calls[0]


def failed(call: ProposedCall, id: str, why: str = "no such date") -> list[Message]:
    """What the loop adds for a call that raised `Retry`."""
    return [made(call, id), ResultMessage(id, call.tool, why, is_error=True)]


def made(call: ProposedCall, id: str) -> CallMessage:
    return CallMessage((Call(id, call.tool, call.arguments),))


@contextmanager
def encoding(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Generator[list[int]]:
    """How many tokens each encoding of the real model takes meanwhile."""
    denoiser, lengths = engine.runtime.denoiser, list[int]()
    encode = denoiser.encode

    def count(tokens: Sequence[int], **more: Any) -> Any:
        lengths.append(len(tokens))
        return encode(tokens, **more)

    with monkeypatch.context() as patched:
        patched.setattr(denoiser, "encode", count)
        yield lengths


async def test_a_decision_says_what_it_was_and_took(backend: EmbeddedBackend) -> None:
    conversation = await opened(backend, ASKED)
    decision = await conversation.decide()
    (call,) = decision.calls
    assert call.tool == "days_between"
    jsonschema.validate(call.arguments, PARAMETERS[call.tool])
    assert set(call.confidence) == {f"/{name}" for name in PARAMETERS[call.tool]["properties"]}
    assert decision.model == "embedded"
    assert decision.prompt_tokens > 20
    assert (decision.answer, decision.origin) == (None, None)
    await conversation.extend([made(call, "1"), ResultMessage("1", call.tool, "55")])
    after = await conversation.decide()
    assert after.answer
    assert after.prompt_tokens > decision.prompt_tokens


@pytest.mark.parametrize("tools", [TOOLS, []], ids=["calls", "no calls"])
async def test_an_answer_satisfies_the_schema_given_at_opening(
    backend: EmbeddedBackend, tools: list[ToolSpec]
) -> None:
    drafts: list[Draft] = []
    for request in ("Book a table for 4 people in Lisbon", "Hello!", "¿Qué?", "}{"):
        conversation = await opened(backend, request, tools=tools, output=TABLE)
        for settings in (ModelSettings(), ModelSettings(steps=3, temperature=0.8, seed=1)):
            decision = await conversation.decide(settings=settings, on_draft=drafts.append)
            assert decision.calls or decision.answer
            for answer in (decision.answer, *(draft.answer for draft in drafts)):
                if answer is not None:
                    jsonschema.validate(json.loads(answer), TABLE)
            drafts.clear()


async def test_a_structured_answer_is_one_forward_and_so_is_its_refill(
    backend: EmbeddedBackend, engine: Engine
) -> None:
    conversation = await opened(
        backend, "Book a table for 4 people in Lisbon", tools=[], output=TABLE
    )
    with counted(engine) as seen:
        decision = await conversation.decide()
        assert len(seen) == decision.forwards == 1
        assert json.loads(decision.answer or "") == {"city": "Lisbon", "people": 4}
        values = {"Lisbon"}
        for turn in range(2, 5):
            if turn == 3:  # as a run does whose output is refused
                refused: list[Message] = [
                    AnswerMessage(decision.answer or ""),
                    FeedbackMessage("no such city"),
                ]
                await conversation.extend(refused)
            decision = await conversation.refill(decision, {"/city": "no such city"})
            assert len(seen) == turn
            assert decision.calls == ()
            found = json.loads(decision.answer or "")
            jsonschema.validate(found, TABLE)
            assert found["people"] == 4
            values.add(found["city"])
    assert len(values) == 4


@pytest.mark.parametrize("told", [True, False], ids=["after its result", "at once"])
async def test_a_refill_is_one_forward_that_changes_one_value(
    backend: EmbeddedBackend,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    told: bool,
) -> None:
    conversation, call = await called(backend)
    decision, first, values = Decision(), call, {call.arguments["end"]}
    for turn in range(1, 4):
        if told:
            await conversation.extend(failed(call, str(turn)))
        with counted(engine) as seen, encoding(engine, monkeypatch) as encoded:
            decision = await conversation.refill(call, {"/end": "no such date"})
        assert (len(seen), decision.forwards, decision.passes) == (1, 1, 0)
        assert encoded == []  # the context was encoded when it was extended
        (call,) = decision.calls
        assert call.tool == first.tool
        jsonschema.validate(call.arguments, PARAMETERS[call.tool])
        assert {**call.arguments, "end": ""} == {**first.arguments, "end": ""}
        assert set(call.confidence) == set(first.confidence)
        assert call.confidence["/start"] == first.confidence["/start"]
        values.add(call.arguments["end"])
    assert len(values) == 4  # what was rejected before never came back
    assert decision.prompt_tokens > 0
    with encoding(engine, monkeypatch) as encoded:
        await conversation.extend([made(call, "last"), ResultMessage("last", call.tool, "55")])
    assert sum(encoded) < 60 < decision.prompt_tokens  # the new call and its result, no more
    assert (await conversation.decide()).answer


async def test_what_was_refilled_stands_in_the_context_as_the_canvas_said_it(
    backend: EmbeddedBackend,
) -> None:
    conversation, call = await called(backend)
    await conversation.extend(failed(call, "1"))
    (again,) = (await conversation.refill(call, {"/end": "no"})).calls
    await conversation.extend([made(again, "2"), ResultMessage("2", again.tool, "55")])
    decision = await conversation.decide()
    fresh = await opened(
        backend,
        ASKED,
        *failed(call, "1"),
        made(again, "2"),
        ResultMessage("2", again.tool, "55"),
    )
    alone = await fresh.decide()
    assert (decision.answer, decision.prompt_tokens) == (alone.answer, alone.prompt_tokens)


async def test_refills_that_can_not_be_had_are_named(backend: EmbeddedBackend) -> None:
    conversation, call = await called(backend)
    with pytest.raises(TemplateError, match="'/town'"):
        await conversation.refill(call, {"/town": "no"})
    with pytest.raises(BackendError, match="only what this backend has filled in"):
        await conversation.refill(ProposedCall(call.tool, call.arguments), {"/end": "no"})
    with pytest.raises(BackendError, match="only what this backend has filled in"):
        await conversation.refill(Decision(calls=(call,)), {"/end": "no"})
    one = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}
    answers = await opened(backend, "hello", tools=[], output=one)
    decision = await answers.decide()
    with pytest.raises(UnsatisfiableSchema):
        await answers.refill(decision, {"/a": "no"})


async def test_feedback_is_what_a_user_says(backend: EmbeddedBackend) -> None:
    said = AnswerMessage("It is 5.")
    one = await opened(backend, "What is 2 + 2?", said, FeedbackMessage("it is not"))
    other = await opened(backend, "What is 2 + 2?", said, "it is not")
    assert (await one.decide()).choice == (await other.decide()).choice


async def test_settings_win_over_the_options_the_backend_was_made_with(
    tiny_folder: Path,
) -> None:
    backend = EmbeddedBackend(tiny_folder, device="cpu", verify="off", steps=2, seed=3)
    conversation = await opened(backend, "hello", tools=[])

    async def taken(**settings: Any) -> tuple[Decision, list[int]]:
        drafts: list[Draft] = []
        found = await conversation.decide(
            settings=ModelSettings(**settings), on_draft=drafts.append
        )
        return found, [draft.steps for draft in drafts]

    plain, steps = await taken()
    assert (plain.passes, steps[0]) == (0, 2)
    assert (await taken(steps=5))[1][0] == 5
    assert (await taken(steps="auto"))[1][0] == 48
    assert (await taken(verify="rerank", steps=1))[0].passes == 1
    assert (await taken(max_tokens=3))[0].tokens <= 4
    hot = {(await taken(temperature=3.0, seed=seed))[0].answer for seed in range(4)}
    assert len(hot) > 1
    assert plain.answer not in hot
    backend.engine.close()


async def test_so_many_calls_as_are_asked_for(backend: EmbeddedBackend) -> None:
    counts: list[int] = []
    for most in (1, 3):
        conversation = await opened(backend, "What is 17 * 23?")
        decision = await conversation.decide(settings=ModelSettings(max_calls=most))
        counts.append(len(decision.calls))
        assert len(decision.calls) <= most
        assert len({id(call.origin) for call in decision.calls}) == len(decision.calls)
    assert counts[0] == 1


async def test_drafts_tell_calls_that_are_valid_and_those_that_have_settled() -> None:
    backend = EmbeddedBackend(device="cpu", layout="float", rounds=60)
    conversation = await opened(backend, ASKED)
    drafts: list[Draft] = []
    settings = ModelSettings(max_calls=2)
    decision = await conversation.decide(settings=settings, on_draft=drafts.append)
    for draft in drafts:
        for call in draft.calls:
            jsonschema.validate(call.arguments, PARAMETERS[call.tool])
        early = draft.calls[: draft.settled]
        assert early == decision.calls[: draft.settled]
        assert all(call.confidence and call.origin is not None for call in early)
    counts = [draft.settled for draft in drafts]
    assert {0, 1} <= set(counts)  # the first call is told before a second one is decided on
    assert counts == sorted(counts)
    backend.engine.close()


async def test_a_cancelled_decision_ends_within_a_forward_and_leaves_the_engine_usable(
    tiny_folder: Path,
) -> None:
    backend = EmbeddedBackend(tiny_folder, device="cpu")
    conversation, other = [await opened(backend, "hello", tools=[]) for _ in range(2)]
    before = await other.decide()
    never_sure = ModelSettings(steps=100_000, temperature=9.0)
    with counted(backend.engine) as seen:
        with anyio.CancelScope() as scope:

            def stop(draft: Draft) -> None:
                if draft.step == 2:
                    scope.cancel()

            await conversation.decide(settings=never_sure, on_draft=stop)
        assert scope.cancelled_caught
        # what is asked for next begins when the forward under way is over
        after = await other.decide()
        done = len(seen)
        assert done < 1000
        again = await other.decide()
        assert len(seen) == done + again.forwards  # the one that was cancelled runs no more
    assert before.answer == after.answer == again.answer
    backend.engine.close()


async def test_forks_go_on_apart(backend: EmbeddedBackend) -> None:
    conversation, call = await called(backend)
    fork = conversation.fork()
    await fork.extend([made(call, "1"), ResultMessage("1", call.tool, "55")])
    assert (await fork.decide()).answer
    (again,) = (await conversation.refill(call, {"/end": "no"})).calls
    assert again.arguments["end"] != call.arguments["end"]
    await conversation.aclose()
    await conversation.aclose()
    with pytest.raises(BackendError, match="closed"):
        await conversation.decide()
    await fork.extend([UserMessage("thanks")])


async def test_a_schema_that_cannot_be_guaranteed_is_named_at_opening(
    backend: EmbeddedBackend,
) -> None:
    output = {"type": "string", "pattern": "a(?=b)"}
    with pytest.raises(UnsupportedSchema) as caught:
        await backend.open(instructions="", tools=TOOLS, output=output)
    assert "answer" in caught.value.__notes__[0]
