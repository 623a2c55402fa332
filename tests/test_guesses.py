"""Calls without effects, begun on a guess: adopted where it is right, else as if never made."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from drafting import SEVERAL, Marks, Written, contents, draft, heard_by, proposed

from agentkit import (
    Agent,
    Blocked,
    Call,
    CallFilled,
    CallFinished,
    Decision,
    DraftCanvas,
    Event,
    Hooks,
    ProposedCall,
    ResultMessage,
    Retry,
    RunContext,
    tool,
)
from agentkit.backend import OnDraft
from agentkit.testing import (
    ScriptedBackend,
    ScriptItem,
    answer,
    call,
    drafted,
)


def guessing(
    marks: Marks, *guesses: ProposedCall, final: ProposedCall | str, started: int = 1
) -> Written:
    """Draws a guess after another, each once the one before has begun; then it decides."""

    async def turn(on_draft: OnDraft) -> Decision:
        for guess in guesses:
            marks.begun = anyio.Event()
            on_draft(draft(guess))
            if started:
                await marks.begun.wait()
        return Decision((), final) if isinstance(final, str) else Decision((final,))

    return Written(turn)


async def test_a_guess_that_turns_out_right_is_made_once() -> None:
    marks = Marks()
    marks.go.set()
    backend = guessing(marks, proposed("look", what="a"), final=proposed("look", what="a"))
    heard: list[str] = []

    class Heard(Hooks[Any]):
        async def before_call(self, context: RunContext[Any], call: Call) -> None:
            heard.append(f"hook {call.id}")

        async def after_call(self, context: Any, call: Call, result: ResultMessage) -> None:
            heard.append(f"hook {result.call_id} {result.content}")

    agent = Agent(tools=[marks.look], backend=backend, hooks=[Heard()])

    @agent.guard_call
    def guard(context: RunContext, call: Call) -> None:
        heard.append(f"guard {call.id}")

    events, result = await heard_by(agent)
    assert marks.seen == ["begin a", "end a"]
    assert heard == ["guard call_1", "hook call_1", "hook call_1 got a"]
    assert contents(result.history) == ["got a"]
    filled, finished = (one for one in events if isinstance(one, CallFilled | CallFinished))
    assert isinstance(filled, CallFilled)
    assert not filled.early
    assert filled.call is finished.call


async def test_of_a_guess_that_turns_out_wrong_nobody_hears() -> None:
    marks = Marks()
    right = proposed("look", what="right")

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(proposed("look", what="wrong")))
        await marks.begun.wait()
        on_draft(draft(right))
        await marks.ended.wait()  # it is cancelled as soon as the draft reads otherwise
        marks.seen.append("decided")
        marks.go.set()
        return Decision((right,))

    heard: list[str] = []
    agent = Agent(tools=[marks.look], backend=Written(turn))

    @agent.guard_call
    def guard(context: RunContext, call: Call) -> None:
        heard.append(call.arguments["what"])

    events, result = await heard_by(agent)
    assert marks.seen[:2] == ["begin wrong", "cancelled wrong"]
    assert "wrong" not in repr(result)
    assert not [event for event in events if "wrong" in repr(event) and not drawn(event)]
    assert heard == ["right"]
    assert result.calls == (Call("call_1", "look", {"what": "right"}),)


def drawn(event: Event) -> bool:
    return isinstance(event, DraftCanvas)


async def test_a_decision_to_answer_drops_the_guesses() -> None:
    marks = Marks()  # `go` is never set: a guess that was waited for would hang
    backend = guessing(marks, proposed("look"), final="no need to look")
    result = await Agent(tools=[marks.look], backend=backend).run("go")
    assert result.answer == "no need to look"
    assert marks.seen == ["begin it", "cancelled it"]
    assert result.calls == ()


@pytest.mark.parametrize("refusal", [Retry("not that"), Blocked("not that")])
async def test_a_guess_that_a_guard_refuses_is_dropped(refusal: Exception) -> None:
    marks = Marks()
    backend = guessing(marks, proposed("look"), final=proposed("look"))
    agent = Agent(tools=[marks.look], backend=backend)

    @agent.guard_call
    def refuse(context: RunContext, call: Call) -> None:
        raise refusal

    with suppress(Blocked):
        assert contents((await agent.run("go")).history) == ["not that"]
    assert marks.seen == ["begin it", "cancelled it"]


async def test_errors_of_a_wrong_guess_vanish() -> None:
    tried = anyio.Event()

    @tool(pure=True)
    async def look(what: str) -> str:
        tried.set()
        raise ValueError(f"no {what}")

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(proposed("look", what="wrong"), proposed("look", unknown=1)))
        await tried.wait()
        await anyio.lowlevel.checkpoint()
        return Decision((), "fine")

    events, result = await heard_by(Agent(tools=[look], backend=Written(turn)))
    assert result.answer == "fine"
    assert not any(isinstance(event, CallFinished) for event in events)


async def test_errors_of_a_right_guess_are_those_of_the_call() -> None:
    @tool(pure=True)
    async def look() -> str:
        raise ValueError("dark")

    script: list[ScriptItem] = [drafted(call("look"), call("look"), call("look")), answer("done")]
    result = await Agent(tools=[look], backend=ScriptedBackend(script)).run("go")
    assert "ValueError: dark" in contents(result.history)[0]
    assert result.results[0].call_id == "call_1"


async def test_a_guess_reports_to_nobody() -> None:
    reported = anyio.Event()

    @tool(pure=True)
    async def look(context: RunContext) -> str:
        await context.report("looking")
        reported.set()
        return "seen"

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(proposed("look")))
        await reported.wait()
        return Decision((proposed("look"),))

    events, result = await heard_by(Agent(tools=[look], backend=Written(turn)))
    assert contents(result.history) == ["seen"]
    assert "CallProgress" not in {type(event).__name__ for event in events}


async def test_what_has_effects_is_never_guessed() -> None:
    marks = Marks()
    marks.go.set()

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(proposed("fetch"), proposed("look"), proposed("gone")))
        await marks.ended.wait()
        return Decision((), "fine")

    tools = [marks.fetch, marks.look]
    result = await Agent(tools=tools, backend=Written(turn), settings=SEVERAL).run("go")
    assert marks.seen == ["begin it", "end it"]  # of `look`
    assert result.calls == ()


async def test_a_guess_that_settles_is_made_once_all_the_same() -> None:
    marks = Marks()
    look = proposed("look", what="a")

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(look))
        await marks.begun.wait()
        on_draft(draft(look, settled=1))
        marks.go.set()
        return Decision((look,))

    agent = Agent(tools=[marks.look], backend=Written(turn), settings=SEVERAL)
    events, result = await heard_by(agent)
    assert marks.seen == ["begin a", "end a"]
    assert contents(result.history) == ["got a"]
    assert [event.early for event in events if isinstance(event, CallFilled)] == [True]


async def test_two_calls_that_are_equal_are_two_calls() -> None:
    marks = Marks()
    marks.go.set()
    look = proposed("look", what="a")

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(look, look))
        await marks.ended.wait()
        return Decision((look, look))

    agent = Agent(tools=[marks.look], backend=Written(turn), settings=SEVERAL)
    result = await agent.run("go")
    assert marks.seen == ["begin a", "end a"] * 2
    assert contents(result.history) == ["got a", "got a"]


async def test_a_guess_does_not_overtake_a_call_that_runs_alone() -> None:
    stored = ["old"]

    @tool(sequential=True)
    async def write(text: str) -> str:
        stored.append(text)
        return "written"

    @tool(pure=True)
    async def read() -> str:
        return stored[-1]

    both = [call("write", text="new"), call("read")]
    script: list[ScriptItem] = [drafted(both, both, both, both), answer("done")]
    backend = ScriptedBackend(script)
    result = await Agent(tools=[write, read], backend=backend, settings=SEVERAL).run("go")
    assert contents(result.history) == ["written", "new"]


async def test_a_guess_dropped_before_it_came_to_run_starts_no_thread() -> None:
    threads: list[str] = []

    @tool(pure=True)
    def look(what: str) -> str:
        threads.append(threading.current_thread().name)
        return what

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(proposed("look", what="a")))
        on_draft(draft(proposed("look", what="b")))
        return Decision((), "neither")

    result = await Agent(tools=[look], backend=Written(turn)).run("go")
    assert result.answer == "neither"
    assert threads == []


async def test_a_guess_whose_thread_hangs_is_left_behind() -> None:
    begun, going_on = threading.Event(), threading.Event()

    @tool(pure=True, timeout=None)
    def look() -> str:
        begun.set()
        going_on.wait()
        return "too late"

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(proposed("look")))
        await anyio.to_thread.run_sync(begun.wait)
        return Decision((), "without it")

    result = await Agent(tools=[look], backend=Written(turn)).run("go")
    assert result.answer == "without it"
    going_on.set()


async def test_a_right_guess_is_watched_like_any_call() -> None:
    from agentkit.observing.watcher import Unwatched

    seen: list[str] = []

    class Watching(Unwatched):
        def call(self, call: Call, *, turn: int = 0, description: str = "") -> Any:
            seen.append(call.id)
            return self

        def finished(self, result: ResultMessage) -> None:
            seen.append(result.content)

    marks = Marks()
    marks.go.set()
    backend = guessing(marks, proposed("look"), final=proposed("look"))
    await Agent(tools=[marks.look], backend=backend, telemetry=Watching()).run("go")
    assert seen == ["call_1", "got it"]
