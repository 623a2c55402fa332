"""Calls that begin before their decision is there: settled ones, and pure ones on a guess."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from loops import Fixed, FixedConversation

from agentkit import (
    Agent,
    BackendError,
    Blocked,
    Call,
    CallFilled,
    CallFinished,
    Capabilities,
    Conversation,
    Decision,
    Draft,
    DraftCanvas,
    Event,
    Hooks,
    LimitReached,
    ProposedCall,
    ResultMessage,
    Retry,
    RunContext,
    always,
    approve_when,
    ask_when,
    confidence,
    escalate_to,
    max_calls,
    tool,
)
from agentkit.backend import ModelSettings, OnDraft
from agentkit.testing import (
    ScriptedBackend,
    answer,
    assert_called,
    assert_calls,
    assert_well_formed,
    call,
    drafted,
)

SEVERAL = ModelSettings(max_calls=4)

# --- a backend whose decisions are written out in the test, drafts and all

Turn = Callable[[OnDraft], Awaitable[Decision]]


class Written(Fixed):
    """Decides as its turns do, which draw their drafts themselves; then it answers."""

    capabilities = Capabilities(drafts=True)

    def __init__(self, *turns: Turn) -> None:
        super().__init__([])
        self.turns = list(turns)

    async def open(self, **options: Any) -> Conversation:
        return WrittenConversation(self)


class WrittenConversation(FixedConversation):
    backend: Written

    async def decide(
        self, *, settings: ModelSettings = ModelSettings(), on_draft: OnDraft | None = None
    ) -> Decision:
        if not self.backend.turns:
            return Decision((), "done")
        return await self.backend.turns.pop(0)(on_draft or _unheard)


def _unheard(draft: Draft) -> None: ...


def draft(*calls: ProposedCall, settled: int = 0) -> Draft:
    return Draft(1, 2, (), calls, settled)


def proposed(tool: str, /, **arguments: Any) -> ProposedCall:
    return ProposedCall(tool, arguments)


class Marks:
    """Tools that leave marks when they begin, end, and are cancelled."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.begun, self.ended = anyio.Event(), anyio.Event()
        self.go = anyio.Event()

        @tool
        async def fetch(what: str = "it") -> str:
            """Fetch something, with effects."""
            return await self._work(what)

        @tool(pure=True, timeout=None)
        async def look(what: str = "it") -> str:
            """Look at something, without effects."""
            return await self._work(what)

        self.fetch, self.look = fetch, look

    async def _work(self, what: str) -> str:
        self.seen.append(f"begin {what}")
        self.begun.set()
        try:
            await self.go.wait()
        except BaseException:
            self.seen.append(f"cancelled {what}")
            raise
        finally:
            self.ended.set()
        self.seen.append(f"end {what}")
        return f"got {what}"


async def collect(agent: Agent, **options: Any) -> tuple[list[Event], Any]:
    events: list[Event] = []
    result = await agent.run("go", on_event=events.append, **options)
    return events, result


def contents(history: Any) -> list[str]:
    return [message.content for message in history if isinstance(message, ResultMessage)]


# --- settled calls, in earnest


async def test_a_settled_call_ends_before_its_decision_does() -> None:
    marks = Marks()
    marks.go.set()
    calls = proposed("fetch", what="a"), proposed("fetch", what="b")

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(*calls, settled=1))
        await marks.ended.wait()  # would hang if the call waited for us
        marks.seen.append("decided")
        return Decision(calls)

    agent = Agent(tools=[marks.fetch], backend=Written(turn), settings=SEVERAL)
    events, result = await collect(agent)
    assert marks.seen == ["begin a", "end a", "decided", "begin b", "end b"]
    assert_calls(result, [call("fetch", what="a"), call("fetch", what="b")])
    assert contents(result.history) == ["got a", "got b"]
    assert_well_formed(result)
    filled = [event for event in events if isinstance(event, CallFilled)]
    assert [(event.early, event.decision is None) for event in filled] == [
        (True, True),
        (False, False),
    ]


async def test_events_show_that_it_did() -> None:
    early = [call("fetch", what="a"), call("fetch", what="b")]
    marks = Marks()
    marks.go.set()
    backend = ScriptedBackend([drafted(early, *[early] * 6, settled=1), answer("done")])
    agent = Agent(tools=[marks.fetch], backend=backend, settings=SEVERAL)
    events, _ = await collect(agent)
    finished = next(n for n, event in enumerate(events) if isinstance(event, CallFinished))
    drawn_last = [
        event.draft.step == event.draft.steps if isinstance(event, DraftCanvas) else False
        for event in events
    ].index(True)
    assert finished < drawn_last


async def test_a_call_that_has_begun_is_not_begun_again() -> None:
    marks = Marks()
    marks.go.set()
    early = [call("fetch", what="a"), call("fetch", what="b")]
    script = [drafted(early, early[:1], early, early, settled=[1, 1, 2]), answer("done")]
    agent = Agent(tools=[marks.fetch], backend=ScriptedBackend(script), settings=SEVERAL)
    result = await agent.run("go")
    assert sorted(mark for mark in marks.seen if "begin" in mark) == ["begin a", "begin b"]
    assert [one.id for one in result.calls] == ["call_1", "call_2"]


@pytest.mark.parametrize(
    "policy",
    [ask_when(confidence < 0.1), escalate_to("nobody", when=confidence < 0.1),
     approve_when(~always)],
    ids=["ask", "escalate", "approve"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["fetch", "look"])
async def test_where_a_policy_has_a_say_nothing_begins_before_the_decision(
    policy: Any, kind: str
) -> None:
    marks = Marks()
    marks.go.set()
    calls = proposed(kind, what="a"), proposed(kind, what="b")

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(*calls, settled=1))
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        marks.seen.append("decided")
        return Decision(calls)

    tools = [marks.fetch, marks.look]
    agent = Agent(tools=tools, backend=Written(turn), policies=[policy], settings=SEVERAL)
    await agent.run("go")
    assert marks.seen[0] == "decided"
    assert len(marks.seen) == 5


async def test_calls_that_must_wait_hold_back_those_behind_them() -> None:
    marks = Marks()
    marks.go.set()
    order: list[str] = []

    @tool(sequential=True)
    async def alone() -> str:
        order.append("alone")
        return "alone"

    calls = proposed("alone"), proposed("fetch", what="behind")

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(*calls, settled=2))
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        assert not order
        assert not marks.seen
        return Decision(calls)

    agent = Agent(tools=[alone, marks.fetch], backend=Written(turn), settings=SEVERAL)
    assert contents((await agent.run("go")).history) == ["alone", "got behind"]


async def test_a_failing_backend_leaves_what_had_begun_in_the_history() -> None:
    marks = Marks()

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(proposed("fetch"), proposed("fetch"), settled=1))
        await marks.begun.wait()
        marks.go.set()  # it is at work still
        raise OSError("unplugged")

    agent = Agent(tools=[marks.fetch], backend=Written(turn), settings=SEVERAL)
    with pytest.raises(BackendError, match="unplugged") as caught:
        await agent.run("go")
    assert_called(caught.value.history, "fetch")
    assert contents(caught.value.history) == ["got it"]
    assert_well_formed(caught.value.history)


@pytest.mark.parametrize("decided", [(), ("b",), ("b", "a")])
async def test_a_decision_that_takes_back_what_had_settled_is_the_backends_fault(
    decided: tuple[str, ...],
) -> None:
    marks = Marks()
    marks.go.set()

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(proposed("fetch", what="a"), settled=1))
        await marks.ended.wait()
        return Decision(tuple(proposed("fetch", what=what) for what in decided), "or an answer")

    agent = Agent(tools=[marks.fetch], backend=Written(turn), settings=SEVERAL)
    with pytest.raises(BackendError, match="had settled, but the decision begins with") as caught:
        await agent.run("go")
    assert contents(caught.value.history) == ["got a"]
    assert_well_formed(caught.value.history)


async def test_a_limit_holds_for_calls_that_begin_early() -> None:
    marks = Marks()
    marks.go.set()
    calls = tuple(proposed("fetch", what=what) for what in "abc")

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(*calls, settled=3))
        return Decision(calls)

    backend = Written(turn)
    agent = Agent(tools=[marks.fetch], backend=backend, settings=SEVERAL, stop=max_calls(2))
    with pytest.raises(LimitReached, match="the limit of 2 calls is reached") as caught:
        await agent.run("go")
    assert contents(caught.value.history) == ["got a", "got b"]
    assert_well_formed(caught.value.history)


async def test_a_guard_that_refuses_an_early_call_ends_the_run_before_others_are_made() -> None:
    marks = Marks()
    marks.go.set()
    asked = anyio.Event()

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(proposed("fetch", what="a"), settled=1))
        await asked.wait()
        await anyio.lowlevel.checkpoint()
        return Decision((proposed("fetch", what="a"), proposed("fetch", what="b")))

    agent = Agent(tools=[marks.fetch], backend=Written(turn), settings=SEVERAL)

    @agent.guard_call
    def refuse(context: RunContext, call: Call) -> None:
        asked.set()
        raise Blocked("not today")

    with pytest.raises(Blocked, match="not today") as caught:
        await agent.run("go")
    assert marks.seen == []
    assert_well_formed(caught.value.history)


# --- pure calls, on a guess


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

    events, result = await collect(agent)
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

    events, result = await collect(agent)
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

    events, result = await collect(Agent(tools=[look], backend=Written(turn)))
    assert result.answer == "fine"
    assert not any(isinstance(event, CallFinished) for event in events)


async def test_errors_of_a_right_guess_are_those_of_the_call() -> None:
    @tool(pure=True)
    async def look() -> str:
        raise ValueError("dark")

    script = [drafted(call("look"), call("look"), call("look")), answer("done")]
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

    events, result = await collect(Agent(tools=[look], backend=Written(turn)))
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
    events, result = await collect(agent)
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
    script = [drafted(both, both, both, both), answer("done")]
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
