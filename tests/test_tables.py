"""Figures of an evaluation: their intervals, and what is told until there are any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit_engine import Answer, Decision, UnsupportedSchema
from agentkit_engine.training.evaluation.cases import Case
from agentkit_engine.training.evaluation.judging import Count, Tally
from agentkit_engine.training.evaluation.tables import figures, show, watched, wilson, write


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (0, 0, 0.0, 1.0)],
)
def test_the_interval_is_wilsons(right: int, total: int, low: float, high: float) -> None:
    assert wilson(right, total) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 5000), st.data())
def test_an_interval_holds_its_share(total: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, total))
    low, high = wilson(right, total)
    assert 0 <= low <= right / total + 1e-12
    assert right / total - 1e-12 <= high <= 1


def test_progress_tells_its_rate(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(watched(iter("abc"), "letters", 3)) == ["a", "b", "c"]
    told = capsys.readouterr().err
    assert told.startswith("letters: 3/3, ")
    assert "cases/s" in told


def tallied(kind: str, *outcomes: Decision | UnsupportedSchema) -> Tally:
    tally = Tally()
    for number, outcome in enumerate(outcomes):
        tally.add(Case(kind="no tool", tools=(), messages=(), id=f"{kind} {number}"), outcome)
    return tally


ABOUT: Any = {"beliefs": None, "origin": None}


def answered(forwards: int) -> Decision:
    said = Answer(value="no", text="no", **ABOUT)
    return Decision(
        calls=(), answered=said, choice={}, batch="whole", forwards=forwards, elapsed=0.25
    )


def test_figures_are_means_over_what_ran() -> None:
    refused = UnsupportedSchema("type", "")
    tallies = {"one": tallied("one", answered(1), answered(4), refused), "two": tallied("two")}
    recognised, said = figures("mine", tallies)
    assert (recognised.name, recognised.mode, recognised.what) == (
        "mine",
        "one",
        "no tool: recognised",
    )
    assert (recognised.right, recognised.total) == (2, 3)
    assert (recognised.forwards, recognised.passes, recognised.elapsed_ms) == (2.5, 0.0, 250.0)
    assert (recognised.low, recognised.high) == wilson(2, 3)
    assert (said.what, said.right, said.total) == ("no tool: said", 0, 3)


def test_troubles_are_shown_with_their_reasons_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = [UnsupportedSchema("type", f"/{number}") for number in range(20)]
    tallies = {"off": tallied("row", *refused)}
    found = figures("[own] file", tallies)
    show("[own] file", tallies, found)
    shown = capsys.readouterr().out
    assert "[own] file" in shown
    assert "off: 20 could not be run and count as wrong" in shown
    assert "row 0: UnsupportedSchema: " in shown
    assert "and 8 more" in shown
    write(tmp_path / "told.json", found, {"[own] file": tallies}, checkpoint="x")
    told = json.loads((tmp_path / "told.json").read_text("utf-8"))
    assert told["checkpoint"] == "x"
    assert [trouble["id"] for trouble in told["troubles"]] == [f"row {n}" for n in range(20)]
    assert [figure["forwards"] for figure in told["figures"]] == [None, None]


def test_parts_of_a_question_stand_beneath_it() -> None:
    tally = Tally()
    for what in ("tool chosen", "tool chosen, of 5 to 8", "whole call", "tool chosen, of 1"):
        tally.counts[what] = Count()
    assert [figure.what for figure in figures("", {"": tally})] == [
        "tool chosen", "tool chosen, of 1", "tool chosen, of 5 to 8", "whole call",
    ]  # fmt: skip
