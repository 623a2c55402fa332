"""What a run looks like: in a terminal, in a file, and in a picture."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from agentkit import (
    AgentKitError,
    AnswerDraft,
    Answered,
    AnswerMessage,
    AnswerRejected,
    Call,
    CallFilled,
    CallFinished,
    CallMessage,
    CallPending,
    CallProgress,
    Cell,
    Decision,
    Draft,
    DraftCanvas,
    Escalated,
    Event,
    FeedbackMessage,
    HandedOff,
    Message,
    Pending,
    ResultMessage,
    Row,
    TurnFinished,
    TurnStarted,
    UserMessage,
)
from agentkit.terminal.drawing import (
    FILLER,
    NOISE,
    STYLES,
    draw_answer,
    draw_arguments,
    draw_call,
    draw_draft,
    draw_event,
    draw_message,
    draw_result,
    export_svg,
)
from agentkit.terminal.screen import Screen


def terminal(width: int = 60) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=width)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


DRAFT = Draft(
    1,
    2,
    (
        Row("", (Cell("todo_add", "settled"),)),
        Row("todo_add", (Cell('{"text":"', "pinned"), Cell("bu\ny", "draft"), Cell("", "noise"))),
    ),
)


def test_a_canvas_shows_its_cells_on_one_line_each() -> None:
    console = Console(file=io.StringIO(), width=60, color_system=None)
    console.print(draw_draft(DRAFT))
    lines = [line.rstrip() for line in written(console).splitlines()]
    assert lines == [
        "step 1 of 2",
        "  choice    todo_add",
        f'  todo_add  {{"text":"bu{FILLER}y{NOISE}',
    ]


def test_a_terminal_redraws_in_place_and_keeps_the_last_draft() -> None:
    console = terminal()
    screen = Screen(console)
    with screen.drawing():
        for step in (1, 2):
            screen.show(DraftCanvas(1, Draft(step, 2, DRAFT.rows)))
        one = Call("call_1", "todo_list", {})
        screen.show(CallFilled(1, one, {}, Decision()))
    text = written(console)
    assert "\x1b[1A" in text  # moved up, to draw step 2 over step 1
    assert text.index("step 2 of 2") < text.index("todo_list")


SEND = Call("call_1", "send", {"to": "Ada", "grams": 800, "notes": ["now"]})


def plain(*drawn: RenderableType) -> list[str]:
    """What is drawn, line by line, as a file gets it."""
    console = Console(file=io.StringIO(), width=80, color_system=None)
    for one in drawn:
        console.print(one)
    return [line.rstrip() for line in written(console).splitlines()]


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (
            CallFilled(1, SEND, {"/to": 0.41}, None, refills="call_0"),
            '→ send(to="Ada", grams=800, notes=["now"])  41% sure  instead of call_0',
        ),
        (CallFilled(1, Call("call_1", "look", {}), {}, None, early=True), "→ look()  early"),
        (CallProgress(1, SEND, "packing", None, None), "… send  packing"),
        (CallProgress(1, SEND, "packing", 3, None), "… send  packing  3"),
        (CallProgress(1, SEND, "packing", 3, 4), f"… send  packing  {'━' * 15}{'─' * 5} 3 of 4"),
        (CallProgress(1, SEND, "packing", 9, 4), f"… send  packing  {'━' * 20} 9 of 4"),
        (
            CallPending(1, Pending(SEND, "approval", "it is paid for")),
            "? send waits for approval: it is paid for",
        ),
        (CallPending(1, Pending(SEND, "deferred")), "? send is finished elsewhere"),
        (
            Escalated(1, Decision(), "confidence < 0.5"),
            "↑ left to another model: confidence < 0.5",
        ),
        (HandedOff(1, "billing"), "⇒ billing goes on"),
        (AnswerRejected(1, "42", "too small"), "✗ 42  too small"),
        (Answered(1, "It is on its way.", Decision()), "It is on its way."),
    ],
)
def test_each_event_is_a_line(event: Event, shown: str) -> None:
    drawn = draw_event(event)
    assert drawn is not None
    assert plain(drawn) == [shown]


@pytest.mark.parametrize("event", [TurnStarted(1), TurnFinished(1)])
def test_what_says_nothing_is_not_drawn(event: Event) -> None:
    assert draw_event(event) is None


def test_the_arguments_of_a_call_say_which_value_is_doubtful() -> None:
    sure = {"/to": 0.41, "/grams": 0.99, "/notes/0": 0.5, "/notes/1": 0.9}
    assert plain(draw_arguments(SEND, sure)) == [
        '  to     "Ada"    ? only 41% sure',
        "  grams  800      99% sure",
        '  notes  ["now"]  ? only 50% sure',
    ]
    assert plain(draw_arguments(SEND, {}))[0] == '  to     "Ada"'
    assert plain(draw_arguments(Call("call_1", "look", {}), {})) == ["  no arguments"]


def test_the_words_of_an_answer_settle() -> None:
    drawn = draw_answer("It is on its way", "It was on the way")
    moving = {
        drawn.plain[span.start : span.end] for span in drawn.spans if span.style == STYLES["draft"]
    }
    assert drawn.plain == "≈ It is on its way"
    assert moving == {"is", "its"}


def test_a_history_reads_as_it_was_said() -> None:
    messages: list[Message] = [
        UserMessage("Send it"),
        CallMessage((SEND,)),
        ResultMessage("call_1", "send", "sent"),
        AnswerMessage("42"),
        FeedbackMessage("too small"),
    ]
    assert plain(*(line for message in messages for line in draw_message(message))) == [
        "> Send it",
        '→ send(to="Ada", grams=800, notes=["now"])  call_1',
        "← sent  call_1",
        "42",
        "✗ too small",
    ]


def test_progress_is_redrawn_in_place_and_gone_with_its_call() -> None:
    console = terminal()
    screen = Screen(console)
    with screen.drawing():
        screen.show(CallFilled(1, SEND, {}, Decision()))
        for done in (1, 2):
            screen.show(CallProgress(1, SEND, "packing", done, 2))
        screen.show(CallFinished(1, SEND, ResultMessage("call_1", "send", "sent"), 0.5))
        after = len(written(console))
        screen.show(Answered(1, "Done.", Decision()))
    text = written(console)
    assert text.index("1 of 2") < text.index("2 of 2") < text.index("sent")
    assert text[:after].endswith("\x1b[2K")  # the line where it stood is free again
    assert "packing" not in text[after:]


def test_a_file_gets_progress_and_answers_once() -> None:
    console = Console(file=io.StringIO(), width=60, color_system=None)
    screen = Screen(console)
    with screen.drawing():
        screen.show(DraftCanvas(1, Draft(0, 2, DRAFT.rows)))  # the noise
        screen.show(AnswerDraft(1, "Do", "Do"))
        screen.show(CallProgress(1, SEND, "packing", 1, 2))
        screen.show(Answered(1, "Done.", Decision()))
    lines = written(console).splitlines()
    assert [line.split()[0] for line in lines] == ["…", "Done."]


def test_an_early_call_stands_above_the_canvas_that_goes_on() -> None:
    console = terminal()
    screen = Screen(console)
    with screen.drawing():
        screen.show(DraftCanvas(1, DRAFT))
        screen.show(CallFilled(1, SEND, {}, None, early=True))
        screen.show(DraftCanvas(1, Draft(2, 2, DRAFT.rows)))
    text = written(console)
    assert text.count("\x1b[?25l") == 1  # one region that is redrawn, from first to last
    assert text.index("early") < text.index("step 2 of 2")


def test_a_terminal_is_left_in_order_when_a_run_fails() -> None:
    console = terminal()

    def fail() -> None:
        screen = Screen(console)
        with screen.drawing():
            screen.show(DraftCanvas(1, DRAFT))
            raise AgentKitError("no")

    with pytest.raises(AgentKitError):
        fail()
    assert written(console).endswith("\x1b[?25h")  # the cursor is back


def test_text_of_a_model_is_never_markup() -> None:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(draw_call(Call("call_1", "say", {"text": "[bold]x[/]"}), {"/text": 0.5}))
    console.print(draw_result(ResultMessage("call_1", "say", "[/red] :smile:"), 0.5))
    assert written(console).splitlines() == [
        '→ say(text="[bold]x[/]")  50% sure',
        "← [/red] :smile:  500 ms",
    ]


def test_a_picture_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        export_svg(tmp_path / name, [draw_draft(DRAFT)], title="a canvas")
    picture = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert picture == (tmp_path / "two.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert "todo_add" in picture
