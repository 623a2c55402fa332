"""Draws a run: the canvas as it denoises, then calls, results, the answer and the figures.

Knows events and rich. Must not know how a run is driven, or the command line; what is redrawn in
place is `agentkit.terminal.screen`'s. Importing it imports rich, so nothing that `import agentkit`
loads may import it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agentkit.backend import Cell, CellState, Draft, Row
from agentkit.defining.tool import AnyTool
from agentkit.event import (
    AnswerDraft,
    Answered,
    AnswerRejected,
    CallFilled,
    CallFinished,
    CallPending,
    CallProgress,
    DraftCanvas,
    Escalated,
    Event,
    HandedOff,
    RunFinished,
)
from agentkit.message import (
    AnswerMessage,
    Call,
    CallMessage,
    FeedbackMessage,
    Message,
    ResultMessage,
    UserMessage,
)
from agentkit.pointer import pointer_of
from agentkit.result import Pending, RunResult

STYLES: Mapping[CellState, str] = {
    "pinned": "dim",
    "noise": "bright_black",
    "draft": "#1f1a00 on #d9b93b",
    "settled": "#06210f on #56c271",
}
"""How a cell looks, by its state."""

FILLER = "·"
"""Drawn for a cell without text: a slot's padding, an absent optional key."""
NOISE = "░"
"""Drawn for a noisy cell; the word it holds means nothing."""

DOUBTFUL = 0.8
"""Below this confidence, a value is marked for whoever approves its call."""
BAR = 20
"""Signs of a progress bar."""
INDENT = (0, 0, 0, 2)
_WORD = re.compile(r"(\s*)(\S+)")
# A canvas is cut at the edge of the terminal, not between words, and rich breaks at any kind of
# space: this blank is none.
_BLANK = "\N{BRAILLE PATTERN BLANK}"


def cell_text(cell: Cell) -> Text:
    """One cell; what can't be printed becomes a filler sign."""
    if cell.state == "noise":
        return Text(NOISE, style=STYLES["noise"])
    shown = "".join(sign if sign.isprintable() else FILLER for sign in cell.text) or FILLER
    return Text(shown.replace(" ", _BLANK), style=STYLES[cell.state])


def row_text(row: Row) -> Text:
    """The cells of one canvas, side by side; a long canvas folds onto further lines."""
    cells = [cell_text(cell) for cell in row.cells]
    return Text(overflow="fold").join(cells)


def draw_draft(draft: Draft) -> RenderableType:
    """The canvases of one turn after a denoise step: the choice, and every candidate call."""
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(style="cyan", no_wrap=True)
    rows.add_column(overflow="fold")
    for row in draft.rows:
        rows.add_row(row.name or "choice", row_text(row))
    title = f"step {draft.step} of {draft.steps}" if draft.step else "noise"
    return Group(Text(title, style="dim"), Padding(rows, INDENT))


def draw_answer(text: str, before: str = "") -> Text:
    """An answer that is still being written; the words that were there before have settled."""
    earlier = before.split()
    drawn = Text("≈ ", style="dim")
    for place, (space, word) in enumerate(_WORD.findall(text)):
        settled = place < len(earlier) and earlier[place] == word
        drawn.append(space).append(word, STYLES["pinned" if settled else "draft"])
    return drawn


def draw_call(
    call: Call, confidence: Mapping[str, float], *, refills: str = "", early: bool = False
) -> Text:
    """A call as it would be written in code, with the probability of its least certain value.

    refills: the call of which rejected values were filled in again. early: it starts before the
    rest of its turn is there.
    """
    line = Text.assemble("→ ", _written(call))
    if confidence:
        line.append("  ").append(f"{min(confidence.values()):.0%} sure", style="dim")
    if refills:
        line.append("  ").append(f"instead of {refills}", style="dim")
    if early:
        line.append("  ").append("early", style="dim")
    return line


def draw_progress(event: CallProgress) -> Text:
    """What a tool reports of its work, as a bar where it says how much there is to do."""
    line = Text.assemble("… ", (event.call.tool, "cyan"), "  ", event.message)
    if event.done is None:
        return line
    if not event.total:
        return line.append(f"  {event.done:g}", style="dim")
    full = round(BAR * min(max(event.done / event.total, 0.0), 1.0))
    line.append("  ").append("━" * full, "green").append("─" * (BAR - full), "bright_black")
    return line.append(f" {event.done:g} of {event.total:g}", style="dim")


def draw_result(result: ResultMessage, seconds: float) -> Text:
    """What a call gave back, and how long the tool took."""
    style = "red" if result.is_error else "green"
    return Text.assemble(
        "← ", (result.content, style), "  ", (f"{_in_milliseconds(seconds)} ms", "dim")
    )


def draw_pending(pending: Pending) -> Text:
    """A call that waits, and for what."""
    waits = "waits for approval" if pending.kind == "approval" else "is finished elsewhere"
    line = Text.assemble(
        ("? ", "yellow"), (pending.call.tool, "bold cyan"), (f" {waits}", "yellow")
    )
    return line.append(f": {pending.why}" if pending.why else "", style="dim")


def draw_arguments(call: Call, confidence: Mapping[str, float]) -> RenderableType:
    """The arguments of a call that somebody is to judge; doubtful values are marked."""
    if not call.arguments:
        return Padding(Text("no arguments", style="dim"), INDENT)
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(style="cyan", no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_column(no_wrap=True)
    for name, value in call.arguments.items():
        share = _confidence_in(name, confidence)
        sure = Text("" if share is None else f"{share:.0%} sure", style="dim")
        if share is not None and share < DOUBTFUL:
            sure = Text(f"? only {share:.0%} sure", style="bold yellow")
        rows.add_row(name, Text(_json(value)), sure)
    return Padding(rows, INDENT)


def draw_message(message: Message) -> list[Text]:
    """A message of a history, a line for each of its calls."""
    match message:
        case UserMessage(text=text):
            return [Text(f"> {text}")]
        case CallMessage(calls=calls):
            return [Text.assemble("→ ", _written(call), (f"  {call.id}", "dim")) for call in calls]
        case ResultMessage(content=content, is_error=failed, call_id=name):
            style = "red" if failed else "green"
            return [Text.assemble("← ", (content, style), (f"  {name}", "dim"))]
        case AnswerMessage(text=text):
            return [Text(text, style="bold")]
        case FeedbackMessage(text=text):
            return [Text.assemble(("✗ ", "red"), (text, "red"))]


def draw_figures(result: RunResult[Any]) -> Text:
    """One line: forward passes, milliseconds by phase, canvas positions filled."""
    phases = ", ".join(
        f"{phase} {_in_milliseconds(seconds)}" for phase, seconds in result.timings.items()
    )
    forwards, tokens = _count(result.forwards, "forward"), _count(result.tokens, "token")
    if result.passes:
        forwards += f" and {result.passes} pass{'es'[: 2 * (result.passes != 1)]}"
    return Text(f"{forwards} · ms: {phases} · {tokens} filled", style="dim")


def draw_event(event: Event) -> RenderableType | None:
    """One event of a run; None for those that show nothing."""
    match event:
        case DraftCanvas(draft=draft):
            return draw_draft(draft)
        case AnswerDraft(text=text):
            return draw_answer(text)
        case CallFilled(call=call, confidence=confidence, refills=refills, early=early):
            return draw_call(call, confidence, refills=refills, early=early)
        case CallProgress():
            return draw_progress(event)
        case CallFinished(result=result, seconds=seconds):
            return draw_result(result, seconds)
        case CallPending(pending=pending):
            return draw_pending(pending)
        case Escalated(why=why):
            return Text.assemble(("↑ left to another model", "magenta"), (f": {why}", "dim"))
        case HandedOff(agent=agent):
            return Text.assemble("⇒ ", (agent, "bold magenta"), " goes on")
        case AnswerRejected(text=text, why=why):
            return Text.assemble(("✗ ", "red"), (text, "strike"), (f"  {why}", "red"))
        case Answered(text=text):
            return Text(text, style="bold")
        case RunFinished(result=result) if result.status != "paused":  # there is more to come
            return draw_figures(result)
        case _:
            return None


def draw_tools(tools: Sequence[AnyTool]) -> RenderableType:
    """The tools of an agent; `?` marks what may be left out."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold cyan", overflow="fold")
    table.add_column(style="dim", overflow="fold")
    for tool in tools:
        table.add_row(Text(signature(tool)), Text(tool.description))
    return table


def signature(tool: AnyTool) -> str:
    """A tool's name and parameters; `?` marks what may be left out."""
    required = tool.parameters.get("required", [])
    names = tool.parameters.get("properties", {})
    return f"{tool.name}({', '.join(n if n in required else f'{n}?' for n in names)})"


def _written(call: Call) -> Text:
    arguments = ", ".join(f"{name}={_json(value)}" for name, value in call.arguments.items())
    return Text.assemble((call.tool, "bold cyan"), f"({arguments})")


def _confidence_in(name: str, confidence: Mapping[str, float]) -> float | None:
    """That of the least certain value in an argument; None where nothing is known of it."""
    pointer = pointer_of(name)
    shares = [
        share
        for path, share in confidence.items()
        if path == pointer or path.startswith(f"{pointer}/")
    ]
    return min(shares, default=None)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)


def _in_milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f}" if seconds < 0.01 else f"{seconds * 1000:.0f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def export_svg(
    path: str | Path, parts: Sequence[RenderableType], *, title: str, width: int = 100
) -> None:
    """Write what a terminal would show as an SVG picture, the same on every machine."""
    console = Console(
        file=io.StringIO(),  # drawn for the record only
        record=True,
        width=width,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    for part in parts:
        console.print(part)
    svg = console.export_svg(title=title, unique_id="agentkit")
    # a picture that fetches nothing: where its font is missing, any monospaced one will do
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    Path(path).write_text(svg, encoding="utf-8")
