"""Conversations of the corpus: each goes as its kind says, and says what is so."""

from __future__ import annotations

import re
from itertools import islice

import pytest
from conversing import calls, roles, some

from agentkit_engine.training.corpus.conversations import FLOWS, NO_TOOL, SHARES, Conversation
from agentkit_engine.training.corpus.scenes import Part, corpus


@pytest.fixture(scope="module")
def many() -> list[Conversation]:
    return [*some(1, 200), *some(2, 50, held=True), *some(3, 50, shipped=1.0)]


def flow(kind: str, count: int = 60) -> list[Conversation]:
    return some(f"flow {kind}", count, shares={kind: 1.0}, branches=2, shipped=0.0)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("single", "ucta"),
        ("twice", "uctaucta"),
        ("together", "u(ct+)+a"),
        ("chain", "u(ct+)+a"),
        ("missing", "(ua)?ucta"),
        ("mended", "uct(ct)?a"),
        ("failed", "ucta"),
        ("refusal", "ua"),
        ("small talk", "ua"),
        ("extraction", "u"),
    ],
)
def test_a_conversation_goes_as_its_kind_says(kind: str, shape: str) -> None:
    found = flow(kind)
    assert {one.kind for one in found} == {kind}
    assert all(re.fullmatch(shape, roles(one)) for one in found), set(map(roles, found))
    assert all((one.extraction is not None) is (kind == "extraction") for one in found)


def test_every_kind_has_its_share() -> None:
    assert set(SHARES) == set(FLOWS)
    assert sum(SHARES.values()) == pytest.approx(1)


def test_where_no_tools_are_declared_schemas_are_filled() -> None:
    scenes = list(islice(corpus(3, Part(branches=3)), 400))
    bare = [scene for scene in scenes if not scene[0].tools]
    assert 20 <= len(bare) <= 45  # 8 %
    assert all(one.extraction and roles(one) == "u" for scene in bare for one in scene)
    spoken = Part(branches=3, shares={"single": 1.0})  # of which none can do without tools
    assert all(scene[0].tools for scene in islice(corpus(3, spoken), 400))


def test_calls_at_once_and_in_turn_are_both_common() -> None:
    shapes = [roles(one) for one in flow("together", 200)]
    assert sum("ctt" in shape for shape in shapes) > 100
    assert sum("ctct" in shape for shape in shapes) > 60


def test_a_chain_hands_on_what_was_returned() -> None:
    chained = [one for one in flow("chain", 300) if roles(one) == "uctcta"]
    handed = 0
    for one in chained:
        (asked,) = (m["content"] for m in one.messages if m["role"] == "user")
        _, second = calls(one)
        result = next(m["content"] for m in one.messages if m["role"] == "tool")
        values = [v for v in map(str, second["arguments"].values()) if v not in asked]
        handed += any(value in result for value in values)
    assert handed > 20


def test_a_question_names_what_is_missing_and_the_reply_says_it() -> None:
    asked = [one for one in flow("missing") if roles(one) == "uaucta"]
    assert len(asked) > 60
    for one in asked:
        question = next(m["content"] for m in one.messages if m["role"] == "assistant")
        assert re.fullmatch(r"Which .+\?", question)


def test_an_error_says_what_the_next_call_mends() -> None:
    corrected = [one for one in flow("mended") if roles(one) == "uctcta"]
    assert len(corrected) > 40
    for one in corrected:
        wrong, right = calls(one)
        assert wrong["name"] == right["name"]
        (key,) = (k for k, v in right["arguments"].items() if wrong["arguments"][k] != v)
        error = next(m["content"] for m in one.messages if m["role"] == "tool")
        assert "error" in error
        assert right["arguments"][key] in error.replace('\\"', '"').replace("\\\\", "\\")


def test_only_what_no_tool_serves_is_refused(many: list[Conversation]) -> None:
    refused = 0
    for conversation in many:
        said = [message["content"] for message in conversation.messages]
        assert (NO_TOOL in said) is (conversation.kind == "refusal")
        refused += NO_TOOL in said
    assert refused > 100


def test_an_answer_holds_its_facts(many: list[Conversation]) -> None:
    count = 0
    for conversation in many:
        answers = {
            place: message["content"]
            for place, message in enumerate(conversation.messages)
            if message["role"] == "assistant" and not message.get("tool_calls")
        }
        assert answers.keys() == conversation.facts.keys()
        for place, facts in conversation.facts.items():
            assert all(fact in answers[place] for fact in facts)
            count += len(facts)
    assert count > 1000
