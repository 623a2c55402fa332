"""Shows the events of a run on a console as they happen.

Knows drawings, and what a terminal redraws in place. Must not know how a run is driven. Importing
it imports rich.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live

from agentkit.event import (
    AnswerDraft,
    Answered,
    CallFilled,
    CallFinished,
    CallProgress,
    DraftCanvas,
    Event,
)
from agentkit.terminal.drawing import draw_answer, draw_draft, draw_event, draw_progress


class Screen:
    """A console that follows one run.

    On a terminal the canvas, the answer's draft and the progress of calls are redrawn in place, and
    what is final is written above them. Elsewhere each step is written once, and the noise it
    starts from is left out.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._redraws_in_place = console.is_terminal and not console.is_dumb_terminal
        self._live: Live | None = None
        self._canvas: RenderableType | None = None
        self._answer = ""
        self._words: RenderableType | None = None
        self._progress: dict[str, RenderableType] = {}

    def show(self, event: Event) -> None:
        """Draw one event."""
        if self._redraws_in_place and self._takes_over(event):
            self._refresh()
            return
        if isinstance(event, AnswerDraft) or (
            isinstance(event, DraftCanvas) and not event.draft.step
        ):
            return
        drawn = draw_event(event)
        if isinstance(event, CallFinished):
            self._progress.pop(event.call.id, None)
        elif isinstance(event, Answered) or (isinstance(event, CallFilled) and not event.early):
            self._settle()
        if drawn is not None:
            self.console.print(drawn)
        self._refresh()

    @contextmanager
    def drawing(self) -> Generator[None]:
        """Leaves the terminal in order when the run ends, also when it fails."""
        try:
            yield
        finally:
            self._progress.clear()
            self._settle()

    def _takes_over(self, event: Event) -> bool:
        """Take over what an event changes in place; whether there is anything."""
        match event:
            case DraftCanvas(draft=draft):
                self._canvas = draw_draft(draft)
            case AnswerDraft(text=text):
                self._words = draw_answer(text, self._answer)
                self._answer = text
            case CallProgress(call=call):
                self._progress[call.id] = draw_progress(event)
            case _:
                return False
        return True

    def _refresh(self) -> None:
        """Draw what is redrawn in place, or stop where nothing is left of it."""
        parts = [part for part in (self._canvas, self._words) if part is not None]
        parts += self._progress.values()
        if not parts:
            self._stop(transient=True)
            return
        if self._live is None:
            # Drafts come as fast as the model makes them; a refresh thread would only add to it.
            self._live = Live(console=self.console, auto_refresh=False)
            self._live.start()
        self._live.update(Group(*parts), refresh=True)

    def _settle(self) -> None:
        """Leave the last canvas on the screen and go on below it."""
        canvas, self._canvas = self._canvas, None
        self._words, self._answer = None, ""
        if self._live is not None and canvas is not None:
            self._live.update(canvas)
        self._stop(transient=canvas is None)

    def _stop(self, *, transient: bool) -> None:
        if self._live is not None:
            self._live.transient = transient
            self._live.stop()
            self._live = None
