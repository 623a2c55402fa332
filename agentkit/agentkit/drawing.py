"""Draws a run: the canvas as it denoises, then calls, results, the answer and the figures.

Knows events and rich. Must not know how a run is driven, or the command line. Importing it
imports rich, so nothing that `import agentkit` loads may import it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agentkit.backend import Cell, CellState, Draft, Row
from agentkit.event import Answered, CallFilled, CallFinished, DraftCanvas, Event, RunFinished
from agentkit.message import Call, ResultMessage
from agentkit.result import RunResult
from agentkit.tool import AnyTool
from agentkit.toolset import Plugin

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

INDENT = (0, 0, 0, 2)
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


def draw_call(call: Call, confidence: Mapping[str, float]) -> Text:
    """A call as it would be written in code, with the probability of its least certain value."""
    arguments = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.arguments.items()
    )
    line = Text.assemble("→ ", (call.tool, "bold cyan"), f"({arguments})")
    if confidence:
        line.append(f"  {min(confidence.values()):.0%} sure", style="dim")
    return line


def draw_result(result: ResultMessage, seconds: float) -> Text:
    """What a call gave back, and how long the tool took."""
    style = "red" if result.is_error else "green"
    return Text.assemble(
        "← ", (result.content, style), (f"  {_in_milliseconds(seconds)} ms", "dim")
    )


def draw_figures(result: RunResult) -> Text:
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
        case CallFilled(call=call, confidence=confidence):
            return draw_call(call, confidence)
        case CallFinished(result=result, seconds=seconds):
            return draw_result(result, seconds)
        case Answered(text=text):
            return Text(text, style="bold")
        case RunFinished(result=result):
            return draw_figures(result)
        case _:
            return None


def draw_plugins(plugins: Sequence[Plugin]) -> RenderableType:
    """The installed tool plugins, their tools, and what is wrong with those that are broken."""
    if not plugins:
        return Text("no tool plugin is installed")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim", overflow="fold")
    for plugin in plugins:
        if plugin.toolset is None:
            table.add_row(plugin.name, Text("broken", style="red"), Text(str(plugin.error)))
            continue
        for number, tool in enumerate(plugin.toolset):
            name = plugin.name if number == 0 else ""
            table.add_row(name, Text(_signature(tool)), Text(tool.description))
    return table


def _signature(tool: AnyTool) -> str:
    required = tool.parameters.get("required", [])
    names = tool.parameters.get("properties", {})
    return f"{tool.name}({', '.join(n if n in required else f'{n}?' for n in names)})"


def _in_milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f}" if seconds < 0.01 else f"{seconds * 1000:.0f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class Screen:
    """Shows the events of a run on a console as they happen.

    On a terminal the canvas is redrawn in place; elsewhere each step is written once, and the
    noise it starts from is left out.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None

    def show(self, event: Event) -> None:
        """Draw one event."""
        drawn = draw_event(event)
        if drawn is None:
            return
        if isinstance(event, DraftCanvas):
            if self.console.is_terminal:
                self._redraw(drawn)
                return
            if not event.draft.step:
                return
        self._settle()
        self.console.print(drawn)

    @contextmanager
    def drawing(self) -> Generator[None]:
        """Leaves the terminal in order when the run ends, also when it fails."""
        try:
            yield
        finally:
            self._settle()

    def _redraw(self, drawn: RenderableType) -> None:
        if self._live is None:
            # Drafts come as fast as the model makes them; a refresh thread would only add to it.
            self._live = Live(console=self.console, auto_refresh=False)
            self._live.start()
        self._live.update(drawn, refresh=True)

    def _settle(self) -> None:
        """Leave the last draft on the screen and go on below it."""
        if self._live is not None:
            self._live.stop()
            self._live = None


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
