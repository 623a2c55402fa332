"""Measuring a checkpoint: how its turns are judged, run in several ways, and told of."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny import save_tiny_checkpoint

from agentkit_engine import Answer, Call, Decision, Engine, Filling, UnsupportedSchema
from agentkit_engine.training.__main__ import main
from agentkit_engine.training.corpus.conversations import NO_TOOL
from agentkit_engine.training.corpus.scenes import Part, corpus
from agentkit_engine.training.evaluation import judging as evaluation
from agentkit_engine.training.evaluation.casefile import case_of
from agentkit_engine.training.evaluation.cases import SETS, Case, cases
from agentkit_engine.training.evaluation.judging import (
    compare,
    evaluate,
    judge,
    most_calls,
    outcomes,
    ways,
)
from agentkit_engine.training.evaluation.matching import Called
from agentkit_engine.training.evaluation.tables import figures
from agentkit_engine.training.model import build_model, small_config
from agentkit_engine.training.tokenizer import DIALECT, train_tokenizer

BENCH = Path(__file__).parents[1] / "benchmarks" / "bench_bfcl.py"
ABOUT: Any = {"beliefs": None, "origin": None}


# judging


def decided(*calls: Called, answer: str | None = None) -> Decision:
    """A decision for calls, or for an answer."""
    made = tuple(Call(name=one.name, arguments=one.arguments, **ABOUT) for one in calls)
    said = None if answer is None else Answer(value=answer, text=answer, **ABOUT)
    return Decision(
        calls=made, answered=said, choice={}, batch="whole", forwards=2, passes=1, elapsed=0.5
    )


def filled(value: Any) -> Filling:
    return Filling(value=value, text="", **ABOUT)


def rightly(case: Case) -> Decision | Filling:
    """What the corpus says."""
    if case.schema is not None:
        return filled(case.value)
    if case.calls:
        return decided(*case.calls)
    return decided(answer=NO_TOOL if case.kind == "no tool" else " ".join(("Is", *case.facts)))


@pytest.mark.parametrize("name", SETS)
def test_who_is_always_right_is_always_right(name: str) -> None:
    found = [judge(case, rightly(case)) for case in islice(cases(name), 60)]
    assert all(found)
    assert all(right for verdicts in found for right in verdicts.values())


@pytest.mark.parametrize("name", SETS)
def test_what_can_not_be_run_is_wrong(name: str) -> None:
    error = UnsupportedSchema("type", "")
    found = [judge(case, error) for case in islice(cases(name), 20)]
    assert not any(right for verdicts in found for right in verdicts.values())


def case(kind: Any, **told: Any) -> Case:
    return Case(kind=kind, tools=(), messages=({"role": "user", "content": "x"},), **told)


def test_a_call_is_judged_by_name_and_by_arguments() -> None:
    asked = case("call", calls=(Called("f", {"x": 1}),))
    assert judge(asked, decided(Called("f", {"x": 1.0}))) == {
        "tool chosen": True, "whole call exact": True, "arguments exact, tool right": True,
    }  # fmt: skip
    assert judge(asked, decided(Called("f", {"x": 2}))) == {
        "tool chosen": True, "whole call exact": False, "arguments exact, tool right": False,
    }  # fmt: skip
    wrong = {"tool chosen": False, "whole call exact": False}
    assert judge(asked, decided(Called("g", {"x": 1}))) == wrong
    assert judge(asked, decided(answer="no")) == wrong
    assert judge(asked, decided(*asked.calls, *asked.calls)) == wrong


def test_a_choice_is_told_by_how_many_were_declared() -> None:
    asked = replace(case("choice", calls=(Called("f", {}),)), tools=[{}] * 3)
    assert judge(asked, decided(Called("f", {"x": 1}))) == {
        "tool chosen": True, "tool chosen, of 3 or 4": True,
    }  # fmt: skip


def test_several_calls_have_no_order() -> None:
    one, other = Called("f", {"x": 1}), Called("f", {"x": 2})
    asked = case("calls", calls=(one, other))
    assert judge(asked, decided(other, one)) == {"tools chosen": True, "every call exact": True}
    assert judge(asked, decided(one, one)) == {"tools chosen": True, "every call exact": False}
    assert judge(asked, decided(one)) == {"tools chosen": False, "every call exact": False}


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("It is 12 in Rome.", True),
        ("rome: 12", True),
        ("It is 112 in Rome.", False),  # a number is not a part of another
        ("It is 12.", False),
        (None, False),
    ],
)
def test_an_answer_must_say_every_fact(answer: str | None, right: bool) -> None:
    asked = case("answer", facts=("12", "Rome"))
    assert judge(asked, decided(answer=answer)) == {"answer says the values": right}


def test_no_tool_is_recognised_whatever_is_said() -> None:
    asked = case("no tool")
    said = {"no tool: recognised": True, "no tool: said": False}
    assert judge(asked, decided(answer="I can't.")) == said
    made = {"no tool: recognised": False, "no tool: said": False}
    assert judge(asked, decided(Called("f", {}))) == made


def test_a_row_is_judged_twice() -> None:
    tool = {"name": "f", "parameters": {"properties": {"x": {}}, "required": ["x"]}}
    calls = [{"name": "f", "arguments": {"x": "New York"}}]
    asked = case_of({"question": "?", "tools": [tool], "calls": calls}, "here")
    alike = {"tools chosen": True, "exact": False, "AST match": True}
    assert judge(asked, decided(Called("f", {"x": "new-york"}))) == alike
    none = replace(asked, calls=())
    right = {"tools chosen": True, "exact": True, "AST match": True}
    assert judge(none, decided(answer="no")) == right
    assert judge(none, decided(Called("f", {"x": "?"}))) == dict.fromkeys(right, False)
    assert (most_calls([asked, none]), most_calls([replace(asked, calls=asked.calls * 2)])) == (
        1,
        8,
    )


# running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained checkpoint with a tokenizer as training makes it."""
    where = tmp_path_factory.mktemp("untrained")
    scenes = islice(corpus(10, Part(branches=1)), 200)
    texts = (json.dumps([one.tools, one.messages]) for scene in scenes for one in scene)
    tokenizer = train_tokenizer(texts, vocabulary=640)
    config = small_config(
        vocabulary=len(tokenizer), hidden=32, layers=2, heads=2, key_value_heads=1, feed_forward=48,
        context=4096,
    )  # fmt: skip
    save_tiny_checkpoint(where, model=build_model(config), tokenizer=tokenizer, dialect=DIALECT)
    return where


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    engine = Engine.load(folder, device="cpu")
    yield engine
    engine.close()


@pytest.mark.parametrize("name", SETS)
def test_evaluating_gives_shares(engine: Engine, name: str) -> None:
    tally = evaluate(engine, name, count=2, verify="off")
    assert tally.counts
    assert not tally.troubles
    for what, count in tally.counts.items():
        assert 0 <= tally.share(what) <= 1
        assert count.ran == count.total <= 2
        assert count.forwards >= count.total
        assert count.passes == 0
    assert math.isnan(tally.share("never asked"))


def test_all_ways_are_compared_on_one_session(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[Any] = []

    def opened(engine: Engine, case: Case) -> Any:
        sessions.append(original(engine, case))
        return sessions[-1]

    original = evaluation.opened
    monkeypatch.setattr(evaluation, "opened", opened)
    verify: list[Any] = ["off", "rerank", "exact"]
    modes = ways(engine, verify=verify, layouts=["slots", "float"], batch="whole")
    assert list(modes) == [
        "slots off", "slots rerank", "slots exact", "float off", "float rerank", "float exact",
    ]  # fmt: skip
    tallies = compare(engine, islice(cases("calls"), 2), modes)
    assert len(sessions) == 2
    assert {tally.counts["tool chosen"].total for tally in tallies.values()} == {2}
    # whoever comes first leaves nothing for those behind: alone, the last comes to the same
    alone = compare(engine, islice(cases("calls"), 2), {"float exact": modes["float exact"]})
    assert _without_time(alone["float exact"]) == _without_time(tallies["float exact"])


def _without_time(tally: evaluation.Tally) -> dict[str, Any]:
    return {what: replace(count, seconds=0.0) for what, count in tally.counts.items()}


def test_only_what_the_checkpoint_can_do_is_asked_of_it() -> None:
    checkpoint = SimpleNamespace(dialect=SimpleNamespace(layouts=("float",)))
    denoiser = SimpleNamespace(causal=False)
    masked: Any = SimpleNamespace(runtime=SimpleNamespace(denoiser=denoiser, checkpoint=checkpoint))
    assert list(ways(masked, verify=["off", "exact"], layouts=["slots", "float"])) == ["float off"]


def test_a_system_message_is_the_sessions_instructions(engine: Engine) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    asked = replace(case("row"), messages=messages)
    session = evaluation.opened(engine, asked)
    assert list(session.messages) == messages
    assert evaluation.decide(engine, asked, verify="off").answer is not None


@pytest.mark.parametrize(
    ("question", "schema", "reason"),
    [
        ("x", {"type": "dict"}, "UnsupportedSchema: .*'dict'"),
        ("x", {"type": "object", "required": "a"}, "UnsupportedSchema: .*'required'"),
        ("x", {"type": "object", "properties": ["a"]}, "Error: "),  # the chat template refuses it
        ("word " * 4096, {"type": "object"}, "ContextTooLong: "),
    ],
)
def test_what_can_not_be_run_is_told_with_its_reason(
    engine: Engine, question: str, schema: Any, reason: str
) -> None:
    row = {"question": question, "tools": [{"name": "f", "parameters": schema}], "calls": []}
    asked = case_of(row, "line 5")
    for mode, outcome in outcomes(engine, asked, {"": {}}):
        assert mode == ""
        assert isinstance(outcome, Exception)
    tallies = compare(engine, [asked], {"off": {"verify": "off"}, "exact": {"verify": "exact"}})
    for tally in tallies.values():
        ((name, why),) = tally.troubles
        assert name == "line 5"
        assert re.search(reason, why)
        assert tally.share("exact") == tally.share("AST match") == 0
    assert figures("own", tallies)[0].forwards is None


# telling


def test_the_command_prints_tables_and_writes_figures(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, told = tmp_path / "own.jsonl", tmp_path / "figures.json"
    tool = {"name": "f", "parameters": {"type": "object"}}
    rows = [
        {"question": "x", "tools": [tool], "calls": [], "category": "none"},
        {"question": "x", "tools": [{**tool, "parameters": {"type": "?"}}], "calls": [], "id": "b"},
    ]
    own.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    main(
        ["evaluate", str(folder), "--device", "cpu", "--sets", "choice", "missing", "--count", "2",
         "--verify", "off", "exact", "--cases", str(own), "--json", str(told), "--threads", "1"]
    )  # fmt: skip
    shown = capsys.readouterr()
    assert all(text in shown.out for text in ("choice among", "missing argument", "own.jsonl"))
    assert "b: UnsupportedSchema" in shown.out
    assert "cases/s" in shown.err
    written = json.loads(told.read_text("utf-8"))
    assert written["checkpoint"] == str(folder)
    names = {figure["name"] for figure in written["figures"]}
    assert names == {"choice", "missing", str(own), f"{own}: none"}
    modes = [f["mode"] for f in written["figures"] if f["what"] == "question names the argument"]
    assert modes == ["slots off", "slots exact"]
    assert set(written["figures"][0]) == {
        "name", "what", "mode", "right", "total", "low", "high", "forwards", "passes", "elapsed_ms",
    }  # fmt: skip
    assert {trouble["id"] for trouble in written["troubles"]} == {"b"}


def test_the_leaderboards_rows_are_joined_with_their_tools(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.syspath_prepend(str(BENCH.parent))  # as when it runs as a script
    spec = importlib.util.spec_from_file_location("bench_bfcl", BENCH)
    assert spec is not None
    assert spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)

    data = tmp_path / "bfcl"
    data.mkdir()
    tools = [{"id": f"T{n}", "name": f"f{n}", "parameters": {"type": "object"}} for n in range(3)]
    rows = [
        {"id": f"{category}_{n}", "category": category, "tools": [f"T{n}"],
         "question": [[{"role": "user", "content": "x"}]],
         "calls": [{"name": f"f{n}", "arguments": {}, "tool": f"T{n}", "valid": True}]}
        for category in bench.CATEGORIES
        for n in range(3)
    ]  # fmt: skip
    for name, lines in (("tools", tools), ("cases", rows)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (data / f"{name}.jsonl").write_text(text, "utf-8")
    joined = bench.read(tmp_path, "parallel", 2)
    assert [(case.id, list(case.schemas)) for case in joined] == [
        ("parallel_0", ["f0"]), ("parallel_1", ["f1"]),
    ]  # fmt: skip

    told = ["--checkpoint", str(folder), "--device", "cpu", "--threads", "1", "--verify", "off"]
    monkeypatch.setattr("sys.argv", ["bench_bfcl.py", "--data", str(tmp_path), *told])
    bench.main()
    shown = capsys.readouterr().out
    assert all(f"bfcl: {category}" in shown for category in bench.CATEGORIES)


def test_a_bad_case_file_ends_the_command_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"question": "x", "tools": []}\n', "utf-8")
    with pytest.raises(SystemExit, match=r"own\.jsonl, line 1: calls: "):
        main(["evaluate", "no such checkpoint", "--cases", str(path)])
    with pytest.raises(SystemExit):
        main(["evaluate", "--steps", "0"])
    assert "number from 1" in capsys.readouterr().err


def test_samples_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    main(["samples", "-n", "60", "--held"])
    shown = capsys.readouterr().out
    assert shown.count("\n\n") == 60
    assert all(word in shown for word in ("tool ", "user ", "assistant ", "fill "))
    main(["samples", "-n", "5", "--fresh", "--flow", "extraction"])
    assert capsys.readouterr().out.count("schema ") == 5
