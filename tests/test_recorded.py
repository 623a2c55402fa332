"""Recordings: what a backend decided, written once and played back without it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import (
    Agent,
    AnswerMessage,
    BackendError,
    Call,
    CallMessage,
    Capabilities,
    ContextTooLong,
    Conversation,
    Decision,
    Message,
    ProposedCall,
    ResultMessage,
    Retry,
    RunResult,
    ToolSpec,
    UnsatisfiableSchema,
    UserMessage,
)
from agentkit.backend import Backend, ModelSettings
from agentkit.testing import (
    RecordingBackend,
    ReplayBackend,
    ScriptedBackend,
    ScriptItem,
    answer,
    assert_well_formed,
    call,
    drafted,
    refill,
)

BOOK = ToolSpec("book", "Book a trip.", {"type": "object", "properties": {"city": {}}})
HELLO = UserMessage("hello")
Use = Callable[[Backend], Awaitable[object]]


async def opened(
    backend: Backend, *messages: Message, tools: Sequence[ToolSpec] = ()
) -> Conversation:
    conversation = await backend.open(instructions="Be brief.", tools=tools)
    await conversation.extend(messages)
    return conversation


async def recorded(path: Path, script: Sequence[ScriptItem], use: Use) -> object:
    backend = RecordingBackend(ScriptedBackend(script), path)
    found = await use(backend)
    backend.save()
    return found


async def both(path: Path, script: Sequence[ScriptItem], use: Use) -> tuple[object, object]:
    """What came of a use when it was recorded, and when that is played back."""
    return await recorded(path, script, use), await use(ReplayBackend(path))


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


async def ask(backend: Backend, *texts: str) -> list[str | None]:
    """One conversation, in which each text is answered."""
    conversation = await opened(backend)
    answers: list[str | None] = []
    for text in texts:
        await conversation.extend([UserMessage(text)])
        answers.append((await conversation.decide()).answer)
    await conversation.aclose()
    return answers


# --- what is played back


async def test_decisions_are_played_back_as_they_were(tmp_path: Path) -> None:
    made = call("book", city="Zürich\u2028", people=2).sure(city=0.41).chosen(0.75)

    async def use(backend: Backend) -> list[Decision]:
        conversation = await opened(backend, HELLO, tools=[BOOK])
        first = await conversation.decide(settings=ModelSettings(steps=3))
        await conversation.extend([ResultMessage("call_1", "book", "done")])
        return [first, await conversation.decide()]

    script: list[ScriptItem] = [[made, call("pay").broken("is no JSON")], answer("")]
    before, after = await both(tmp_path / "a.jsonl", script, use)
    assert before == after


async def test_a_recording_reads_as_what_happened(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.jsonl"
    await recorded(path, [call("book", city="Rome"), answer("Done.")], _book)
    head, opening, first, second = lines(path)
    assert head == {"agentkit": 1, "capabilities": ["refill", "fork"]}
    assert opening["conversation"] == first["conversation"] == second["conversation"] == 1
    assert (opening["instructions"], opening["output"]) == ("Be brief.", None)
    assert first["sent"] == [{"text": "hello", "role": "user"}]
    assert first["settings"] == {"seed": 7}
    assert first["decision"] == {
        "calls": [{"tool": "book", "arguments": {"city": "Rome"}, "confidence": {"/city": 1.0}}],
        "choice": {"book": 1.0},
        "forwards": 1,
        "tokens": 1,
        "model": "script",
    }
    assert "settings" not in second


async def _book(backend: Backend) -> None:
    conversation = await opened(backend, HELLO, tools=[BOOK])
    await conversation.decide(settings=ModelSettings(seed=7))
    await conversation.extend([ResultMessage("call_1", "book", "done")])
    await conversation.decide()


async def test_the_same_run_makes_the_same_file(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.jsonl", "b.jsonl")]
    for file in files:
        await recorded(file, [call("book", city="Rome"), answer("Done.")], _book)
    assert files[0].read_bytes() == files[1].read_bytes()


async def test_tools_are_told_once_in_a_file(tmp_path: Path) -> None:
    async def use(backend: Backend) -> None:
        for _ in range(3):
            await opened(backend, tools=[BOOK])

    path = tmp_path / "a.jsonl"
    await recorded(path, [], use)
    assert [line.get("opened_as") for line in lines(path)[1:]] == [None, 1, 1]
    await use(ReplayBackend(path))


async def test_what_a_recording_can_do_is_what_the_backend_could(tmp_path: Path) -> None:
    within = ScriptedBackend([], capabilities=Capabilities(guaranteed=True, drafts=True))
    backend = RecordingBackend(within, tmp_path / "a.jsonl")
    assert backend.capabilities == within.capabilities
    await backend.aclose()
    assert within.closed
    assert ReplayBackend(backend.path).capabilities == Capabilities(guaranteed=True)


async def test_the_file_is_there_when_the_last_conversation_closes(tmp_path: Path) -> None:
    backend = RecordingBackend(ScriptedBackend([]), tmp_path / "a.jsonl")
    first, second = await opened(backend), await opened(backend)
    await first.aclose()
    await first.aclose()
    assert not backend.path.exists()
    await second.aclose()
    assert len(lines(backend.path)) == 3


async def test_recording_shows_the_drafts_of_the_backend(tmp_path: Path) -> None:
    backend = RecordingBackend(ScriptedBackend([answer("hi")]), tmp_path / "a.jsonl")
    steps: list[int] = []
    conversation = await opened(backend)
    await conversation.decide(on_draft=lambda draft: steps.append(draft.step))
    assert steps == [0, 1]


# --- conversations beside each other


async def test_conversations_may_come_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"

    async def use(backend: Backend) -> None:
        await ask(backend, "a", "b")
        await ask(backend, "c")

    await recorded(path, [answer("A"), answer("B"), answer("C")], use)
    backend = ReplayBackend(path)
    found: dict[str, object] = {}

    async def keep(*texts: str) -> None:
        found[texts[0]] = await ask(backend, *texts)

    async with anyio.create_task_group() as group:
        group.start_soon(keep, "c")
        group.start_soon(keep, "a", "b")
    assert found == {"a": ["A", "B"], "c": ["C"]}


async def test_conversations_that_interleave_are_kept_apart(tmp_path: Path) -> None:
    async def use(backend: Backend) -> list[str | None]:
        left, right = await opened(backend, HELLO), await opened(backend, HELLO)
        said = [(await one.decide()).answer for one in (left, right)]
        await right.extend([UserMessage("and you?")])
        await left.extend([UserMessage("and I?")])
        return said + [(await one.decide()).answer for one in (right, left)]

    script = [answer("L"), answer("R"), answer("R2"), answer("L2")]
    before, after = await both(tmp_path / "a.jsonl", script, use)
    assert before == after == ["L", "R", "R2", "L2"]


async def test_what_was_recorded_may_be_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    await recorded(path, [answer("1"), answer("2")], _twice)
    backend = ReplayBackend(path)
    assert [await ask(backend, "n?") for _ in range(4)] == [["1"], ["2"], ["1"], ["2"]]


async def _twice(backend: Backend) -> None:
    for _ in range(2):
        await ask(backend, "n?")


# --- forks and refills


async def test_forks_are_played_back(tmp_path: Path) -> None:
    async def use(backend: Backend) -> list[str | None]:
        trunk = await opened(backend, HELLO)
        said = [(await trunk.decide()).answer]
        await trunk.extend([UserMessage("go on")])
        branches = [trunk.fork(), trunk.fork()]
        await branches[1].extend([UserMessage("but quickly")])
        said += [(await one.decide()).answer for one in (*branches, trunk)]
        twig = branches[1].fork()
        await twig.extend([UserMessage("stop")])
        said.append((await twig.decide()).answer)
        for one in (trunk, *branches, twig):
            await one.aclose()
        return said

    path = tmp_path / "a.jsonl"
    before, after = await both(path, [answer(text) for text in "abcde"], use)
    assert before == after == ["a", "b", "c", "d", "e"]
    forks = [(line["fork"], line["after"]) for line in lines(path) if "fork" in line]
    assert forks == [(1, 1), (1, 1), (3, 2)]


async def test_refills_are_played_back(tmp_path: Path) -> None:
    async def use(backend: Backend) -> list[Decision]:
        conversation = await opened(backend, HELLO)
        first = await conversation.decide()
        second = await conversation.refill(first.calls[0], {"/day": "it is full"})
        third = await conversation.refill(second.calls[0], {"/day": "this too"})
        return [first, second, third]

    script: list[ScriptItem] = [call("book", city="Rome", day=1), refill(day=2), refill(day=3)]
    before, after = await both(tmp_path / "a.jsonl", script, use)
    assert before == after
    with pytest.raises(BackendError, match=r'-    "/day": "it is full"\n\+    "/day": "other"'):
        await _refilled_otherwise(ReplayBackend(tmp_path / "a.jsonl"))


async def _refilled_otherwise(backend: Backend) -> None:
    conversation = await opened(backend, HELLO)
    decision = await conversation.decide()
    await conversation.refill(decision.calls[0], {"/day": "other"})


async def test_answers_are_refilled_too(tmp_path: Path) -> None:
    async def use(backend: Backend) -> Decision:
        conversation = await opened(backend, HELLO)
        decision = await conversation.decide()
        return await conversation.refill(decision, {"/day": "it is full"})

    before, after = await both(tmp_path / "a.jsonl", [answer({"day": 1}), refill(day=2)], use)
    assert before == after


async def test_what_the_engine_refused_it_refuses_again(tmp_path: Path) -> None:
    async def use(backend: Backend) -> str:
        conversation = await opened(backend, HELLO)
        decision = await conversation.decide()
        with pytest.raises(UnsatisfiableSchema, match="'/day'") as caught:
            await conversation.refill(decision.calls[0], {"/day": "it is full"})
        with pytest.raises(ContextTooLong, match="70"):
            await conversation.decide()
        return str(caught.value)

    script: list[ScriptItem] = [call("book", day=1), ContextTooLong(70, 64)]
    before, after = await both(tmp_path / "a.jsonl", script, use)
    assert before == after


async def test_what_failed_otherwise_is_no_part_of_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"

    async def use(backend: Backend) -> None:
        with pytest.raises(OSError, match="unplugged"):
            await ask(backend, "hi")

    await recorded(path, [OSError("unplugged")], use)
    with pytest.raises(BackendError, match=r"nothing was recorded here.*\n(.*\n)*.*\"hi\""):
        await ask(ReplayBackend(path), "hi")


# --- differences


async def test_another_message_is_shown_as_a_difference(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    await recorded(path, [answer("1"), answer("2")], lambda backend: ask(backend, "one", "two"))
    with pytest.raises(BackendError) as caught:
        await ask(ReplayBackend(path), "one", "three")
    told = str(caught.value)
    assert told.startswith(f"{path}: exchange 2 of a conversation is not as it was recorded")
    assert '-      "text": "two"\n+      "text": "three"' in told
    assert told.endswith("record anew with `RecordingBackend(backend, path)`")


async def test_the_nearest_of_several_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    script = [answer("1"), answer("2"), answer("3")]

    async def use(backend: Backend) -> None:
        await ask(backend, "of something else")
        conversation = await opened(backend, HELLO, CallMessage((Call("c", "book", {}),)))
        await conversation.decide()
        await ask(backend, "of other things")

    await recorded(path, script, use)
    conversation = await opened(ReplayBackend(path), HELLO, CallMessage((Call("d", "book", {}),)))
    with pytest.raises(BackendError, match=r'-          "id": "c",\n\+          "id": "d",'):
        await conversation.decide()


@pytest.mark.parametrize(
    ("instructions", "tools", "output", "shown"),
    [
        (
            "Be long.",
            [BOOK],
            None,
            '-  "instructions": "Be brief.",\n+  "instructions": "Be long."',
        ),
        ("Be brief.", [], None, '+  "tools": []'),
        ("Be brief.", [BOOK], {"type": "string"}, '-  "output": null'),
    ],
)
async def test_another_opening_is_shown_as_a_difference(
    instructions: str, tools: list[ToolSpec], output: dict[str, str], shown: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    await recorded(path, [], lambda backend: opened(backend, tools=[BOOK]))
    backend = ReplayBackend(path, anew="run `make recordings`")
    with pytest.raises(BackendError) as caught:
        await backend.open(instructions=instructions, tools=tools, output=output)
    assert shown in str(caught.value)
    assert str(caught.value).endswith("\nif that is meant, run `make recordings`")


async def test_other_settings_are_a_difference(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    await recorded(path, [answer("1")], lambda backend: ask(backend, "one"))
    conversation = await opened(ReplayBackend(path), UserMessage("one"))
    with pytest.raises(BackendError, match=r'\+    "temperature": 0.7'):
        await conversation.decide(settings=ModelSettings(temperature=0.7))


async def test_going_on_past_the_end_says_what_was_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    await recorded(path, [answer("1")], lambda backend: ask(backend, "one"))
    with pytest.raises(BackendError, match=r"exchange 2 .* nothing was recorded here"):
        await ask(ReplayBackend(path), "one", "more")


async def test_a_fork_that_was_not_made_is_a_difference(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    await recorded(path, [answer("1")], lambda backend: ask(backend, "one"))
    branch = (await opened(ReplayBackend(path), UserMessage("one"))).fork()
    with pytest.raises(BackendError, match="nothing was recorded here"):
        await branch.decide()


async def test_a_long_difference_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    await recorded(path, [], opened)
    backend = ReplayBackend(path)
    with pytest.raises(BackendError, match=r"… and \d+ lines more") as caught:
        await backend.open(instructions="", tools=[BOOK] * 20)
    assert len(str(caught.value).splitlines()) < 45


# --- files


def test_a_recording_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"the recording '.*none.jsonl' can't be read"):
        ReplayBackend(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("[]\n", 1),
        ('{"agentkit": 2, "capabilities": []}', 1),
        ('{"agentkit": 1, "capabilities": ["flying"]}', 1),
        ('{"agentkit": 1, "capabilities": []}\n{"conversation": 1}\n{"conv', 3),
        ('{"agentkit": 1, "capabilities": []}\n{"conversation": 1, "fork": 4, "after": 0}', 2),
    ],
)
def test_a_broken_recording_names_the_line(text: str, line: int, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises(BackendError, match=rf"a.jsonl, line {line}: this is no line of a record"):
        ReplayBackend(path)


async def test_probabilities_are_rounded(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    decision = Decision((ProposedCall("book", {"a": 1}, {"/a": 1 / 3}),), choice={"book": 2 / 3})
    await recorded(path, [decision], lambda backend: ask(backend, "one"))
    assert "0.333333}" in path.read_text("utf-8")
    assert "0.666667}" in path.read_text("utf-8")


# --- runs


def agent_of(backend: Backend, **options: Any) -> Agent[Any, Any]:
    def book(city: str, day: int) -> str:
        """Book a table."""
        if day > 7:
            raise Retry("there are 7 days", value="day")
        return f"{city} on {day}"

    return Agent(tools=[book], backend=backend, **options)


@dataclass
class Table:
    city: str
    day: int


ROME, OSLO = call("book", city="Rome", day=1), call("book", city="Oslo", day=2)
RUNS: dict[str, tuple[list[ScriptItem], dict[str, Any]]] = {
    "an answer": ([answer("Hello.")], {}),
    "calls side by side": ([[ROME, OSLO], ROME, answer("Done.")], {}),
    "a refill": ([call("book", city="Rome", day=9), refill(day=3), answer("Done.")], {}),
    "no refill": ([call("book", city="Rome", day=9), ROME, answer("Done.")], {}),
    "an output": ([ROME, answer({"city": "Rome", "day": 1})], {"output": Table}),
    "an output that won't do": ([answer({"city": 1}), answer(Table("Rome", 1))], {"output": Table}),
    "calls that begin early": (
        [drafted([ROME, OSLO], [ROME, ROME], settled=1), answer("Done.")],
        {"settings": ModelSettings(max_calls=2)},
    ),
}


@pytest.mark.parametrize("name", RUNS)
async def test_runs_are_played_back(name: str, tmp_path: Path) -> None:
    script, options = RUNS[name]

    async def use(backend: Backend) -> tuple[object, ...]:
        result = await agent_of(backend, **options).run("A table?")
        assert_well_formed(result)
        return result.messages, result.output, result.forwards, result.confidence

    before, after = await both(tmp_path / "a.jsonl", script, use)
    assert before == after


async def test_branches_are_played_back(tmp_path: Path) -> None:
    async def use(backend: Backend) -> list[object]:
        found = await agent_of(backend).branch(["A?", "B?"], history=[HELLO, AnswerMessage("Hi.")])
        return [one.messages for one in found if isinstance(one, RunResult)]

    before, after = await both(tmp_path / "a.jsonl", [answer("A."), answer("B.")], use)
    assert before == after
    assert isinstance(after, list)
    assert len(after) == 2
