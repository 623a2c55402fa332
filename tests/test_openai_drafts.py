"""Replies as they are streamed, and how sure the model was of what it wrote.

Against a real server on loopback, and by the official client.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from chat_server import ChatServer, Raw, Said, called
from chats import POINT, decided, drafted, opened

from agentkit import BackendError
from agentkit.backend import Cell, Row

pytest_plugins = ["chat_fixtures"]

# Drafts


async def test_words_grow_chunk_by_chunk(server: ChatServer) -> None:
    server.says(Said("Hello there."))
    decision, drafts = await drafted(server)
    assert decision.answer == "Hello there."
    assert [draft.answer for draft in drafts] == [
        "Hell",
        "Hello th",
        "Hello there.",
        "Hello there.",
    ]
    assert [draft.step for draft in drafts] == [1, 2, 3, 4]
    cells = tuple(Cell(text, "settled") for text in ("Hell", "o th", "ere."))
    assert drafts[-1].rows == (Row("", cells),)


async def test_a_call_is_settled_when_the_next_has_begun(server: ChatServer) -> None:
    calls = (called("add", a=1, b=2), called("find", city="Ulm"))
    server.says(Said(calls=calls, finish="tool_calls"))
    decision, drafts = await drafted(server)
    assert all(draft.calls == decision.calls[: draft.settled] for draft in drafts)
    counts = [draft.settled for draft in drafts]
    assert counts == sorted(counts)
    assert [len(drafts[counts.index(n)].rows) for n in (0, 1, 2)] == [1, 2, 2]
    assert [row.name for row in drafts[-1].rows] == ["add", "find"]
    assert all(draft.answer is None for draft in drafts)


@pytest.mark.parametrize(
    "bad", [called("add", a="x", b=2), called("unknown"), ("add", '{"a": 1, "b": 2}}')]
)
async def test_calls_behind_an_invalid_one_are_not_started_early(
    server: ChatServer, bad: tuple[str, str]
) -> None:
    good = called("add", a=1, b=2)
    server.says(*[Said(calls=(good, bad, good))] * 3)
    decision, drafts = await drafted(server)
    assert max(draft.settled for draft in drafts) == 1
    assert len(decision.calls) == 3
    assert len(server.requests) == 1  # the first may have been started: it is not taken back


async def test_calls_that_all_have_the_number_0_are_told_apart_by_their_ids(
    server: ChatServer,
) -> None:
    deltas = tuple(
        {
            "tool_calls": [
                {"index": 0, "id": f"id{n}", "function": {"name": "add", "arguments": text}}
            ]
        }
        for n, (_, text) in enumerate([called("add", a=1, b=2), called("add", a=3, b=4)])
    )
    server.says(Said(deltas=deltas))
    decision, _ = await drafted(server)
    assert [call.arguments["a"] for call in decision.calls] == [1, 3]


async def test_calls_written_in_turns_are_kept_apart_by_their_numbers(server: ChatServer) -> None:
    def part(index: int, text: str) -> dict[str, Any]:
        return {"index": index, "function": {"name": "add", "arguments": text}}

    texts = [(0, '{"a": 1,'), (1, '{"a": 3,'), (0, '"b": 2}'), (1, '"b": 4}')]
    server.says(Said(deltas=tuple({"tool_calls": [part(*item)]} for item in texts)))
    decision, _ = await drafted(server)
    assert [call.arguments for call in decision.calls] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


async def test_a_settled_call_that_goes_on_is_an_error(server: ChatServer) -> None:
    def part(index: int, text: str) -> dict[str, Any]:
        return {"index": index, "function": {"name": "find", "arguments": text}}

    texts = [(0, "{}"), (1, "{}"), (0, '{"city": "Ulm"}')]
    server.says(Said(deltas=tuple({"tool_calls": [part(*item)]} for item in texts)))
    with pytest.raises(BackendError, match="took back"):
        await drafted(server)


async def test_drafts_of_an_answer_are_valid_at_any_time(server: ChatServer) -> None:
    text = '{"x": 12, "label": "in Zürich"}'
    server.says(Said(text))
    decision, drafts = await drafted(server, output=POINT)
    assert decision.answer == text
    read = [None if it.answer is None else json.loads(it.answer) for it in drafts]
    assert read[0] is None
    assert read[-1] == {"x": 12, "label": "in Zürich"}
    assert {tuple(value) for value in read if value} == {("x",), ("x", "label")}
    assert {"x": 12, "label": "in Z"} in read


async def test_drafts_that_no_end_makes_valid_are_not_told(server: ChatServer) -> None:
    server.says(Said('{"label": "a", "y": 2, "x": 1}'), Said('{"x": 1}'))
    _, drafts = await drafted(server, output=POINT)
    assert {draft.answer for draft in drafts} == {None, '{"x": 1}'}


async def test_a_stream_that_breaks_off_is_an_error(server: ChatServer) -> None:
    server.says(Said("Hello", broken=True))
    with pytest.raises(BackendError, match="ended the stream before"):
        await drafted(server)


async def test_an_error_in_the_stream_is_told(server: ChatServer) -> None:
    event = {"error": {"message": "out of memory", "code": 500}}
    server.says(Raw(f"data: {json.dumps(event)}\n\n", "text/event-stream"))
    with pytest.raises(BackendError, match="broke off: out of memory"):
        await drafted(server)


# Confidence

TOKENS = (
    ("<tool_call>", -0.1),
    ('{"name": "', -0.2),
    ("fi", math.log(0.9)),
    ("nd", math.log(0.5)),
    ('", "arguments": {"', -0.3),
    ("city", -9.0),
    ('": "', -9.0),
    ("Zü", math.log(0.5)),
    ('rich"', math.log(0.5)),
    (', "days":[', -9.0),
    ("1", math.log(0.25)),
    (",2", math.log(0.75)),
    ("]}}</tool_call>", -9.0),
)


@pytest.mark.parametrize("streamed", [False, True])
async def test_values_are_as_sure_as_their_tokens(server: ChatServer, streamed: bool) -> None:
    server.says(Said(calls=(called("find", city="Zürich", days=[1, 2]),), tokens=TOKENS))
    conversation = await opened(server, logprobs=True)
    decision = await conversation.decide(on_draft=(lambda _: None) if streamed else None)
    [call] = decision.calls
    assert call.confidence == pytest.approx({"/city": 0.25, "/days/0": 0.25, "/days/1": 0.75})
    assert decision.choice == pytest.approx({"find": 0.45})


async def test_two_calls_alike_are_weighed_one_after_the_other(server: ChatServer) -> None:
    def tokens(share: float) -> list[tuple[str, float]]:
        return [("add ", -0.1), ('{"a~/": ', 0.0), ("1", math.log(share)), ("}", 0.0)]

    calls = (("add", '{"a~/": 1}'),) * 2
    server.says(Said(calls=calls, tokens=(*tokens(0.9), *tokens(0.4))))
    first, second = (await decided(server, logprobs=True)).calls
    assert first.confidence == pytest.approx({"/a~0~1": 0.9})
    assert second.confidence == pytest.approx({"/a~0~1": 0.4})


async def test_of_arguments_that_are_not_among_the_tokens_nothing_is_said(
    server: ChatServer,
) -> None:
    server.says(Said(calls=(called("find", city="Ulm"),), tokens=TOKENS))
    decision = await decided(server, logprobs=True)
    assert decision.calls[0].confidence == {}
    assert decision.choice == {}
