"""The scripted backend: it does what the script says and records what it was sent."""

from __future__ import annotations

import dataclasses
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from agentkit import (
    AnswerMessage,
    BackendError,
    Capabilities,
    Decision,
    Draft,
    History,
    ProposedCall,
    ResultMessage,
    ToolSpec,
    UnsatisfiableSchema,
    UserMessage,
)
from agentkit.backend import ModelSettings
from agentkit.testing import (
    ScriptedAnswer,
    ScriptedBackend,
    ScriptedCall,
    ScriptedConversation,
    ScriptItem,
    answer,
    call,
    drafted,
    refill,
)

ADD = ToolSpec("add", "Add.", {"type": "object"})


async def opened(*script: ScriptItem, **options: Any) -> ScriptedConversation:
    return await ScriptedBackend(script, **options).open(instructions="", tools=[ADD])


async def drafts_of(item: ScriptItem, **settings: Any) -> tuple[Decision, list[Draft]]:
    drafts: list[Draft] = []
    conversation = await opened(item)
    decision = await conversation.decide(settings=ModelSettings(**settings), on_draft=drafts.append)
    return decision, drafts


# --- what a script is made of


def test_a_call_is_its_tool_and_arguments() -> None:
    assert call("add", tool=1, a=2) == ScriptedCall("add", {"tool": 1, "a": 2})


@dataclasses.dataclass
class Place:
    city: str


class Trip(BaseModel):
    place: Place
    days: int = 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("in words", "in words"),
        ({"city": "Rome"}, '{"city":"Rome"}'),
        (Place("Zürich"), '{"city":"Zürich"}'),
        (Trip(place=Place("Rome")), '{"place":{"city":"Rome"},"days":3}'),
        (None, "null"),
    ],
)
def test_an_answer_is_in_words_or_json(value: object, text: str) -> None:
    assert answer(value) == ScriptedAnswer(text)


async def test_every_argument_is_certain_unless_the_script_says_otherwise() -> None:
    made = call("book", trip={"city": "Rome"}, day=3).sure({"/trip/city": 0.7}, day=0.4)
    [proposed] = (await (await opened(made)).decide()).calls
    assert proposed.confidence == {"/trip": 1.0, "/day": 0.4, "/trip/city": 0.7}


async def test_a_tool_is_the_only_choice_unless_the_script_says_otherwise() -> None:
    certain, doubtful = call("add", a=1), call("add", a=1).chosen(0.6)
    conversation = await opened(certain, doubtful, [call("add"), call("fail")], answer("3"))
    choices = [(await conversation.decide()).choice for _ in range(4)]
    assert choices == [
        {"add": 1.0},
        {"add": 0.6, "": pytest.approx(0.4)},
        {"add": 0.5, "fail": 0.5},
        {"": 1.0},
    ]


async def test_a_call_may_be_broken() -> None:
    [proposed] = (await (await opened(call("add").broken("is no JSON"))).decide()).calls
    assert (proposed.tool, proposed.problem) == ("add", "is no JSON")


# --- what a conversation records and decides


async def test_it_records_what_it_was_sent() -> None:
    backend = ScriptedBackend([call("add", a=1, b=2), answer("3"), answer("unused")])
    schema = {"type": "string"}
    conversation = await backend.open(instructions="Be brief.", tools=[ADD], output=schema)
    assert backend.conversations == [conversation]
    assert (conversation.instructions, conversation.tools) == ("Be brief.", (ADD,))
    assert conversation.output == schema
    await conversation.extend([UserMessage("1 + 2?")])
    await conversation.decide(settings=ModelSettings(steps=4))
    await conversation.extend([ResultMessage("call_1", "add", "3")])
    assert (await conversation.decide()).answer == "3"
    assert conversation.settings == [ModelSettings(steps=4), ModelSettings()]
    assert conversation.messages == (UserMessage("1 + 2?"), ResultMessage("call_1", "add", "3"))
    assert conversation.extended == [conversation.messages[:1], conversation.messages[1:]]
    assert backend.remaining == 1


async def test_an_item_may_be_a_function_of_the_messages() -> None:
    def repeat(messages: History) -> ScriptedAnswer:
        [last] = messages
        assert isinstance(last, UserMessage)
        return answer(f"you said {last.text}")

    conversation = await opened(repeat)
    await conversation.extend([UserMessage("hi")])
    assert (await conversation.decide()).answer == "you said hi"


async def test_an_item_may_wait_for_what_a_test_does() -> None:
    asked, told = anyio.Event(), anyio.Event()

    async def wait(messages: History) -> ScriptedAnswer:
        asked.set()
        await told.wait()
        return answer("at last")

    conversation = await opened(wait)
    answers: list[str | None] = []

    async def decide() -> None:
        answers.append((await conversation.decide()).answer)

    async with anyio.create_task_group() as group:
        group.start_soon(decide)
        await asked.wait()
        assert answers == []
        told.set()
    assert answers == ["at last"]


async def test_an_item_may_be_a_decision_as_it_is() -> None:
    decision = Decision((ProposedCall("add", {"a": 1}),), "both", tokens=7)
    assert await (await opened(decision)).decide() is decision


async def test_an_item_may_be_an_exception() -> None:
    conversation = await opened(OSError("unplugged"), lambda messages: OSError("again"))
    with pytest.raises(OSError, match="unplugged"):
        await conversation.decide()
    with pytest.raises(OSError, match="again"):
        await conversation.decide()


async def test_a_script_that_runs_out_says_so() -> None:
    conversation = await opened(answer("3"))
    await conversation.decide()
    with pytest.raises(BackendError, match="the script ran out: all 1 items are used"):
        await conversation.decide()


async def test_a_script_may_be_checked_to_be_used_up() -> None:
    backend = ScriptedBackend([answer("1"), answer("2"), answer("3")])
    conversation = await backend.open(instructions="", tools=[])
    await conversation.decide()
    with pytest.raises(AssertionError, match=r"2 of 3 items .* is ScriptedAnswer\(text='2'\)"):
        backend.assert_used_up()
    for _ in range(2):
        await conversation.decide()
    backend.assert_used_up()


async def test_a_closed_conversation_refuses() -> None:
    conversation = await opened()
    await conversation.aclose()
    await conversation.aclose()
    assert conversation.closed
    for use in (lambda: conversation.extend([]), conversation.decide):
        with pytest.raises(BackendError, match="closed"):
            await use()


# --- drafts


async def test_it_drafts_from_noise_to_settled() -> None:
    decision, drafts = await drafts_of(call("add", a=1, b=2), steps=2)
    assert decision.forwards == 2
    assert [(draft.step, draft.steps) for draft in drafts] == [(0, 2), (1, 2), (2, 2)]
    states = [[cell.state for cell in draft.rows[0].cells] for draft in drafts]
    assert states[0] == ["pinned", "pinned", "noise", "pinned", "noise", "pinned"]
    assert states[2] == ["pinned", "pinned", "settled", "pinned", "settled", "pinned"]
    assert "".join(cell.text for cell in drafts[2].rows[0].cells) == '{"a":1,"b":2}'
    assert all(draft.calls == () for draft in drafts)


@pytest.mark.parametrize("steps", [None, "auto", 1])
async def test_a_decision_takes_one_step_unless_more_are_asked_for(steps: Any) -> None:
    decision, drafts = await drafts_of(answer("it is 3"), steps=steps)
    assert (decision.forwards, len(drafts)) == (1, 2)
    assert "".join(cell.text for cell in drafts[-1].rows[0].cells) == "it is 3"


async def test_a_drafted_turn_reads_otherwise_first() -> None:
    final = [call("add", a=1), call("add", a=2)]
    item = drafted(final, [call("add", a=1), call("add", a=9)], final, settled=(1, 2))
    decision, drafts = await drafts_of(item)
    assert [proposed.arguments for proposed in decision.calls] == [{"a": 1}, {"a": 2}]
    assert decision.forwards == 3
    read = [[proposed.arguments["a"] for proposed in draft.calls] for draft in drafts]
    assert read == [[], [1, 9], [1, 2], [1, 2]]
    assert [draft.settled for draft in drafts] == [0, 1, 2, 2]


async def test_a_drafted_answer_is_told_as_it_reads() -> None:
    _, drafts = await drafts_of(drafted(answer({"n": 12}), answer({"n": 1})))
    assert [draft.answer for draft in drafts] == [None, '{"n":1}', '{"n":12}']


def test_what_has_settled_can_not_change() -> None:
    with pytest.raises(ValueError, match=r"settled=1 of .* stands first in"):
        drafted(call("add", a=2), call("add", a=1), settled=1)
    with pytest.raises(ValueError, match="settled=2 of"):
        drafted(call("add", a=1), call("add", a=1), settled=2)
    with pytest.raises(ValueError, match="not of the 1 guesses"):
        drafted(call("add", a=1), call("add", a=1), settled=(0, 1))


async def test_a_backend_without_drafts_shows_none() -> None:
    conversation = await opened(call("add", a=1), capabilities=Capabilities())
    drafts: list[Draft] = []
    await conversation.decide(on_draft=drafts.append)
    assert drafts == []


# --- refills


async def test_a_refill_replaces_what_was_rejected() -> None:
    conversation = await opened(call("book", city="Rome", day=3).sure(city=0.4), refill(day=4))
    [filled] = (await conversation.decide()).calls
    again = await conversation.refill(filled, {"/day": "it is full"})
    assert again.calls == (
        ProposedCall("book", {"city": "Rome", "day": 4}, {"/city": 0.4, "/day": 1.0}),
    )
    assert filled.arguments == {"city": "Rome", "day": 3}
    assert conversation.refills == [(filled, {"/day": "it is full"})]


async def test_what_was_refilled_may_be_refilled() -> None:
    item = call("book", trips=[{"to": "Rome"}, {"to": "Oslo"}])
    conversation = await opened(item, *(refill({"/trips/1/to": to}) for to in ("Bern", "Bonn")))
    [filled] = (await conversation.decide()).calls
    for to in ("Bern", "Bonn"):
        [filled] = (await conversation.refill(filled, {"/trips/1/to": "no"})).calls
        assert filled.arguments == {"trips": [{"to": "Rome"}, {"to": to}]}


async def test_an_answer_is_refilled_too() -> None:
    conversation = await opened(answer({"city": "Rome", "a/b": 1}), refill(**{"a/b": 2}))
    decision = await conversation.decide()
    assert (
        await conversation.refill(decision, {"/a~1b": "no"})
    ).answer == '{"city":"Rome","a/b":2}'


async def test_a_refill_of_something_else_says_so() -> None:
    conversation = await opened(call("book", city="Rome", day=3), refill(city="Oslo"))
    [filled] = (await conversation.decide()).calls
    with pytest.raises(BackendError, match="'/day' was rejected"):
        await conversation.refill(filled, {"/day": "it is full"})


@pytest.mark.parametrize("rest", [[], [call("book", day=4)]])
async def test_where_no_refill_comes_next_there_is_no_other_value(rest: list[ScriptItem]) -> None:
    backend = ScriptedBackend([call("book", day=3), *rest])
    conversation = await backend.open(instructions="", tools=[])
    [filled] = (await conversation.decide()).calls
    with pytest.raises(UnsatisfiableSchema, match="the script has no other value"):
        await conversation.refill(filled, {"/day": "it is full"})
    assert backend.remaining == len(rest)


async def test_a_refill_that_nobody_asked_for_says_so() -> None:
    with pytest.raises(BackendError, match="nothing was rejected"):
        await (await opened(refill(day=4))).decide()


@pytest.mark.parametrize("pointer", ["/hour", "/days/7", "/days/x", "/days/0/deep"])
async def test_a_refill_of_what_is_not_there_says_so(pointer: str) -> None:
    conversation = await opened(call("book", days=[3]), refill({pointer: 4}))
    [filled] = (await conversation.decide()).calls
    with pytest.raises(BackendError, match="that is not in"):
        await conversation.refill(filled, {pointer: "no"})


async def test_only_what_it_decided_on_is_refilled() -> None:
    conversation = await opened(call("book", day=3), refill(day=4))
    await conversation.decide()
    with pytest.raises(BackendError, match="this conversation decided on no ProposedCall"):
        await conversation.refill(ProposedCall("book", {"day": 3}), {"/day": "no"})


async def test_a_backend_without_refills_refuses() -> None:
    conversation = await opened(call("book", day=3), capabilities=Capabilities())
    [filled] = (await conversation.decide()).calls
    with pytest.raises(BackendError, match="can't refill"):
        await conversation.refill(filled, {"/day": "no"})


# --- forks


async def test_a_fork_goes_on_from_the_same_messages_alone() -> None:
    backend = ScriptedBackend([call("book", day=3), answer("left"), answer("right"), refill(day=4)])
    trunk = await backend.open(instructions="", tools=[])
    await trunk.extend([UserMessage("hi")])
    [filled] = (await trunk.decide()).calls
    branch = trunk.fork()
    assert backend.conversations == [trunk, branch]
    await branch.extend([AnswerMessage("ho")])
    assert (await trunk.decide()).answer == "left"
    assert (await branch.decide()).answer == "right"
    assert trunk.messages == (UserMessage("hi"),)
    assert branch.messages == (UserMessage("hi"), AnswerMessage("ho"))
    assert (await branch.refill(filled, {"/day": "no"})).calls[0].arguments == {"day": 4}


async def test_a_backend_without_forks_refuses() -> None:
    conversation = await opened(capabilities=Capabilities())
    with pytest.raises(BackendError, match="can't fork"):
        conversation.fork()


async def test_a_backend_notes_that_it_was_closed() -> None:
    backend = ScriptedBackend([])
    assert not backend.closed
    await backend.aclose()
    assert backend.closed
