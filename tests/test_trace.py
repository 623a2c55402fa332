"""Traces: the table, the rows, and the picture, which is read back as XML."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import anyio
import pytest
from rich.console import Console

from agentkit import Agent, Cancellation
from agentkit.backend import Decision, ProposedCall, Timings
from agentkit.message import Call, CallMessage, Message, ResultMessage, UserMessage
from agentkit.observing.trace import Trace
from agentkit.observing.waterfall import draw_waterfall
from agentkit.result import RunResult, Span, Status
from agentkit.testing import ScriptedBackend

SVG = "{http://www.w3.org/2000/svg}"


def decided(*tools: str, confidence: float = 0.5) -> Decision:
    proposed = tuple(ProposedCall(tool, {"a": 1}, {"/a": confidence, "/b": 0.9}) for tool in tools)
    return Decision(
        proposed,
        None if tools else "done",
        forwards=4,
        passes=2,
        tokens=11,
        timings=Timings(encode=0.03, denoise=0.05, lattice=0.01, verify=0.02),
    )


def result_of(
    *spans: Span, turns: int = 1, agent: str = "agent", status: Status = "answered"
) -> RunResult:
    calls = [span.call for span in spans if span.call is not None]
    messages: list[Message] = [UserMessage("go")]
    for call in calls:
        messages += [CallMessage((call,)), ResultMessage(call.id, call.tool, "secret")]
    return RunResult(
        status=status,
        answer="done",
        agent=agent,
        messages=tuple(messages),
        given=0,
        turns=turns,
        decisions=tuple(span.decision for span in spans if span.decision is not None),
        confidence={call.id: {"/a": 0.25} for call in calls},
        spans=spans,
        timings={},
    )


def turn_of(
    number: int,
    started: float,
    *calls: str,
    failed: int = -1,
    took: float = 0.1,
) -> list[Span]:
    """A turn as the loop notes it: what ends first stands first."""
    spans = [
        Span("encode", "extend", number, started, 0.02),
        Span(
            "decide",
            ", ".join(calls) or "answer",
            number,
            started + 0.02,
            0.1,
            decision=decided(*calls),
        ),
    ]
    spans += [
        Span(
            "call",
            tool,
            number,
            started + 0.12,
            took,
            call=Call(f"call_{number}_{index}", tool, {"a": 1}),
            failed=index == failed,
        )
        for index, tool in enumerate(calls)
    ]
    ended = 0.12 + took * bool(calls)
    return [*spans, Span("turn", f"turn {number}", number, started, ended)]


TWO_TURNS = result_of(*turn_of(1, 0.0, "add", "look", failed=1), *turn_of(2, 0.22), turns=2)

# --- the table


TABLE = """\
turn  what                started ms  took ms  forwards  passes  tokens  confidence
   1  turn                       0.0    220.0
   1    encode                   0.0     20.0
   1    decide add, look        20.0    100.0         4       2      11        0.50
   1    call add               120.0    100.0                                  0.25  ok
   1    call look              120.0    100.0                                  0.25  failed
   2  turn                     220.0    120.0
   2    encode                 220.0     20.0
   2    decide answer          240.0    100.0         4       2      11
agent: answered after 340.0 ms; 2 turns, 2 calls, 8 forwards, 4 passes, 22 tokens"""


def test_the_table_is_aligned_and_in_order_of_beginning() -> None:
    assert str(Trace(TWO_TURNS)) == TABLE


def test_long_names_are_cut_and_broken_ones_stay_on_their_line() -> None:
    refill = Span("refill", "/a\n" + "b" * 90, 1, 0.0, 0.01, decision=decided("add"))
    lines = str(Trace(result_of(refill))).splitlines()
    assert len(lines) == 3
    assert "refill /a�bbb" in lines[1]
    assert "b…" in lines[1]
    assert len(lines[1]) < 120


def test_the_rows_are_json() -> None:
    rows = json.loads(json.dumps(Trace(TWO_TURNS).as_dicts()))
    assert len(rows) == len(Trace(TWO_TURNS).rows) == 8
    assert rows[4] == {
        "turn": 1,
        "kind": "call",
        "name": "look",
        "started_ms": 120.0,
        "took_ms": 100.0,
        "forwards": None,
        "passes": None,
        "tokens": None,
        "confidence": 0.25,
        "failed": True,
    }


def test_rich_prints_a_table() -> None:
    out = io.StringIO()
    Console(file=out, width=120).print(Trace(TWO_TURNS))
    printed = out.getvalue()
    assert "decide add, look" in printed
    assert "agent: answered after 340.0 ms" in printed


def test_a_run_without_spans_has_a_trace_all_the_same() -> None:
    nothing = result_of(turns=0, status="cancelled")
    assert str(Trace(nothing)).splitlines()[-1].startswith("agent: cancelled after 0.0 ms")
    assert "Nothing of it was timed." in draw_waterfall(nothing)


def test_a_result_gives_its_trace() -> None:
    assert str(TWO_TURNS.trace()) == str(Trace(TWO_TURNS))


def test_rich_is_loaded_only_where_it_prints() -> None:
    source = "import sys, agentkit.observing.trace; print('rich' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


# --- the picture


def drawn(result: RunResult) -> ElementTree.Element:
    return ElementTree.fromstring(draw_waterfall(result))


def texts(picture: ElementTree.Element) -> list[str]:
    return [item.text or "" for item in picture.iter(f"{SVG}text")]


def bars(picture: ElementTree.Element) -> list[tuple[str, float, float]]:
    """Style, x and width of every bar; lanes are the groups that have a tip."""
    return [
        (rect.get("class", ""), float(rect.get("x", "")), float(rect.get("width", "")))
        for group in picture.iter(f"{SVG}g")
        for rect in group.iter(f"{SVG}rect")
    ]


def long_run(turns: int, *, failing: tuple[int, ...] = (), slow: tuple[int, ...] = ()) -> RunResult:
    spans: list[Span] = []
    now = 0.0
    for number in range(1, turns + 1):
        failed = 0 if number in failing else -1
        took = 1.0 if number in slow else 0.1
        spans += turn_of(number, now, "add", failed=failed, took=took)
        now += 0.12 + took
    return result_of(*spans, turns=turns)


def test_a_picture_is_saved_and_reads_to_those_who_cannot_see_it(tmp_path: Path) -> None:
    path = tmp_path / "run.svg"
    TWO_TURNS.trace().save(path)
    picture = ElementTree.parse(path).getroot()
    assert picture.get("role") == "img"
    title, description = (picture.findtext(f"{SVG}{name}") or "" for name in ("title", "desc"))
    assert title == "Trace of a run of agent"
    assert "2 turns" in description
    assert "The slowest is turn 1." in description
    assert "Calls failed in 1 turn: 1." in description
    labels = (picture.get("aria-labelledby") or "").split()
    assert [item.get("id") for item in picture if item.get("id") in labels] == labels


def test_a_picture_has_no_other_format(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run\.png'; name it \*\.svg"):
        TWO_TURNS.trace().save(tmp_path / "run.png")


def test_a_picture_reads_on_dark_ground_and_needs_nothing_else() -> None:
    text = draw_waterfall(TWO_TURNS)
    assert "@media (prefers-color-scheme:dark)" in text
    assert re.findall(r"url\((.*?)\)", text) == ["#trace-hatch"]
    assert not re.search(r"<script|href|src=|@import", text)
    styles = {style for style, _, _ in bars(drawn(TWO_TURNS))}
    light, dark = text.split("@media", 1)
    for style in {*styles, "ground", "band"} - {"failed"}:  # which is hatched in a red of both
        assert f".{style}{{" in light
        assert f".{style}{{" in dark


def test_a_decision_is_divided_by_its_phases() -> None:
    encoded, *phases, rest = bars(drawn(TWO_TURNS))[:6]
    assert [style for style, _, _ in (encoded, *phases, rest)] == [
        "encode",  # what stood before the decision: 20 of the 30 ms
        "encode",
        "denoise",
        "verify",
        "lattice",
        "other",
    ]
    unit = encoded[2] / 20
    assert [width / unit for _, _, width in (*phases, rest)] == pytest.approx(
        [10, 50, 20, 10, 10], abs=0.5
    )
    assert phases[0][1] == pytest.approx(encoded[1] + encoded[2], abs=0.2)


def test_phases_that_add_up_to_more_than_the_decision_took_still_fit() -> None:
    span = Span("decide", "answer", 1, 0.0, 0.05, decision=decided())
    other = Span("turn", "turn 1", 1, 0.0, 0.1)
    drawn_bars = bars(drawn(result_of(span, other)))
    ends = max(x + width for _, x, width in drawn_bars)
    assert "other" not in {style for style, _, _ in drawn_bars}
    assert ends == pytest.approx((270 + 846) / 2, abs=0.5)


def test_calls_stand_below_each_other_and_failures_are_said_in_words() -> None:
    picture = drawn(TWO_TURNS)
    said = texts(picture)
    assert said.index("add") < said.index("look") < said.index("decide answer")
    assert "failed 100.0" in said
    calls = [bar for bar in bars(picture) if bar[0] in ("call", "failed")]
    assert [style for style, _, _ in calls] == ["call", "failed"]
    assert calls[0][1:] == calls[1][1:]
    assert "call look: failed, 100.0 ms, confidence 0.25" in draw_waterfall(TWO_TURNS)


def test_refills_have_a_lane_of_their_own() -> None:
    refill = Span("refill", "/day", 1, 0.11, 0.01, decision=decided("add"))
    picture = drawn(result_of(*turn_of(1, 0.0, "add"), refill))
    assert texts(picture).index("refill /day") == texts(picture).index("decide add") + 2
    assert "refill /day: 10.0 ms" in draw_waterfall(result_of(*turn_of(1, 0.0, "add"), refill))


@pytest.mark.parametrize("took", [0.0, 1e-7, 0.0004])
def test_what_is_too_short_to_be_seen_is_seen(took: float) -> None:
    spans = turn_of(1, 0.0, "add", took=took) + turn_of(2, 500.0)
    picture = drawn(result_of(*spans, turns=2))
    seen = bars(picture)
    assert {style for style, _, _ in seen} == {"denoise", "call"}
    assert all(width == 2.0 and 270 <= x <= 844 for _, x, width in seen)


def test_bars_stay_within_the_picture() -> None:
    for result in (TWO_TURNS, long_run(30), long_run(200, slow=(7, 199))):
        picture = drawn(result)
        assert all(x >= 270 and x + width <= 846.1 for _, x, width in bars(picture))


def test_the_axis_has_round_times() -> None:
    said = texts(drawn(TWO_TURNS))
    assert said[said.index("0") :][:4] == ["0", "50", "100", "150"]
    assert "ms" in said


def test_the_time_before_the_first_turn_is_shown_unless_it_is_most_of_all() -> None:
    early = bars(drawn(result_of(*turn_of(1, 0.02, "add"))))
    assert early[0][1] > 300
    late = drawn(result_of(*turn_of(1, 20.0, "add")))
    assert bars(late)[0][1] == 270
    assert "20,050" in texts(late)


def test_a_long_run_keeps_its_ends_and_its_worst_turns_and_says_what_is_left_out() -> None:
    picture = drawn(long_run(200, failing=(77,), slow=(120,)))
    said = texts(picture)
    assert int(picture.get("height", "")) <= 1400
    assert {f"turn {number}" for number in (1, 2, 3, 4, 77, 120, 197, 198, 199, 200)} <= {*said}
    shown = [item for item in said if re.fullmatch(r"turn \d+", item)]
    assert f"{200 - len(shown)} of 200 turns left out" in said
    left_out = [re.fullmatch(r"turns? (\d+)(?: to (\d+))? left out \(.*\)", item) for item in said]
    counts = [int(some[2] or some[1]) - int(some[1]) + 1 for some in left_out if some]
    assert sum(counts) == 200 - len(shown)
    first = next(some for some in left_out if some)
    assert first[1] == "5"
    assert first[0].endswith(f"left out ({(int(first[2]) - 4) * 220:,.1f} ms)")


def test_failures_that_are_left_out_are_counted() -> None:
    said = texts(drawn(long_run(200, failing=tuple(range(1, 201)))))
    assert any(re.search(r"left out .*, \d+ with failures\)", item) for item in said)


def test_of_many_calls_in_a_turn_those_that_failed_and_the_slowest_are_shown() -> None:
    spans = turn_of(1, 0.0, *["add"] * 120, failed=90)
    slow = Span("call", "slow", 1, 0.2, 9.0, call=Call("slow", "slow", {}))
    picture = drawn(result_of(*spans, slow))
    said = texts(picture)
    assert int(picture.get("height", "")) < 400
    assert "slow" in said
    assert "failed 100.0" in said
    assert any(item.startswith("decide add, add") and item.endswith("…") for item in said)
    assert "and 110 more; the slowest took 100.0 ms" in said


def test_names_are_escaped_and_broken_ones_are_mended() -> None:
    span = Span("call", '<b>&"\x00\ud800', 1, 0.0, 0.1, call=Call("1", "x", {}), failed=True)
    picture = drawn(result_of(span, agent="<&>"))
    assert '<b>&"��' in texts(picture)
    assert "Trace of a run of <&>" in (picture.findtext(f"{SVG}title") or "")


def test_a_run_cancelled_within_a_turn_is_drawn_as_far_as_it_came() -> None:
    spans = [*turn_of(1, 0.0, "add"), Span("encode", "extend", 2, 0.22, 0.05)]
    said = texts(drawn(result_of(*spans, turns=2, status="cancelled")))
    assert said[-3:] == ["turn 2", "encode", "50.0"]


def test_a_call_that_was_cut_off_is_told_as_far_as_it_came() -> None:
    stop = Cancellation()

    async def hang() -> None:
        """Hang."""
        stop.cancel()
        await anyio.sleep_forever()

    agent = Agent(tools=[hang], backend=ScriptedBackend([Decision((ProposedCall("hang", {}),))]))
    result = agent.run_sync("go", cancellation=stop)
    assert result.status == "cancelled"
    rows = [(row.kind, row.name, row.failed) for row in result.trace().rows]
    assert rows == [
        ("open", "agent", False),
        ("encode", "extend", False),
        ("decide", "hang", False),
        ("call", "hang", True),
    ]


def test_content_is_not_drawn() -> None:
    assert "secret" not in draw_waterfall(TWO_TURNS)
    assert "secret" not in str(Trace(TWO_TURNS))
