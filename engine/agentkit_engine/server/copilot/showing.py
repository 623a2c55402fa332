"""What of a long text the model is shown, and where: on the canvas, in the context, or not at all.

Knows how many tokens a canvas and a context hold. Must not know any API, nor how a hole is filled.

The canvas is narrow, as its width is what a denoise step costs: the hole, and a window of text on
each side, which the model sees in both directions. What stands before the window is encoded once,
in pieces, and found again with the next key. What is too far from the hole is not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentkit_engine.contexts.document import piece_tokens
from agentkit_engine.engine import Engine
from agentkit_engine.server.copilot.hole import File, Hole
from agentkit_engine.server.copilot.pieces import nearest, pieces, splinters, steady, to_drop
from agentkit_engine.template import Template

_BEFORE, _BEHIND = 32, 48  # tokens on each side of a hole; what is before is read in any case
_SIDE = 4  # a side has such a part of the canvas in any case, however long the hole may get
_USUAL = 64  # tokens of a hole of which nobody says how long it may get
_LEAST_EDIT = 16  # tokens of what takes the place of a text, which may be twice as long as that
_START = 2  # tokens that begin a text
_CHARACTERS = 8  # a token has no more on average; text beyond is not even looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the model is shown.

    Attributes:
        context: pieces of text, all of them before the canvas.
        template: what is on the canvas.
        before, behind: the text there, around the hole.
        room: tokens of what fills it.
        tokens: of all text that is shown.
        several: it takes several canvases, one behind the other.
    """

    context: tuple[str, ...]
    template: Template
    before: str
    behind: str
    room: int
    tokens: int
    several: bool = False


class Showing:
    """Decides what a model is shown of a text."""

    def __init__(self, engine: Engine, *, most: int) -> None:
        """
        Args:
            most: tokens of context, as far as the model has room for them.
        """
        runtime = engine.runtime
        self._tokenizer, self._bytes = runtime.checkpoint.tokenizer, runtime.vocabulary.token_bytes
        self._canvas = runtime.denoiser.canvas_length
        self._longest = runtime.forms.writing.longest
        self._context = runtime.denoiser.context_length
        self._most = most

    def of(self, hole: Hole) -> Shown:
        """What the model is shown to fill a hole. However long the texts are, it fits."""
        sides = 2 if hole.behind else 1
        largest = max(1, self._canvas - 1 - sides * (self._canvas // _SIDE))
        wanted = self._wanted(hole)
        if wanted > largest and not (hole.behind or hole.old or hole.pattern):
            return self._continued(hole, wanted)
        room = min(wanted, largest)
        free = self._canvas - 1 - room
        behind = self._beginning(hole.behind, min(_BEHIND, free // 2))
        document = self._pieces(hole.before)
        window = min(_BEFORE, free - self.count(behind))
        far, before = self._parted(document, window)
        context = self._context_of(hole, far, self._context - self._canvas)
        return Shown(
            context=context,
            template=_template(hole, before, behind, room),
            before=before,
            behind=behind,
            room=room,
            tokens=self._count_all((*context, before, behind)),
        )

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(piece_tokens(self._tokenizer, text)) if text else 0

    def _wanted(self, hole: Hole) -> int:
        if hole.max_tokens is not None:
            return hole.max_tokens
        return max(_LEAST_EDIT, 2 * self.count(hole.old.text)) if hole.old else _USUAL

    def _continued(self, hole: Hole, wanted: int) -> Shown:
        """A text that goes on for longer than a canvas, with nothing behind it."""
        room = min(wanted, self._longest - 1, self._context // 2)
        left = self._context - room - self._canvas
        context = self._context_of(hole, self._pieces(hole.before), left)
        return Shown(
            context=context,
            template=Template.text(room),
            before="",
            behind="",
            room=room,
            tokens=self._count_all(context),
            several=True,
        )

    def _pieces(self, text: str) -> list[str]:
        """Pieces of which a window always has room for the last."""
        most = min(_BEFORE, self._canvas // _SIDE)
        return [
            part
            for piece in pieces(nearest(text, _CHARACTERS * self._most))
            for part in (splinters(piece) if self.count(piece) > most else (piece,))
        ]

    def _parted(self, document: list[str], window: int) -> tuple[list[str], str]:
        """The pieces that are encoded, and the text behind them that stands on the canvas."""
        first, left = len(document), window
        while first and (left := left - self.count(document[first - 1])) >= 0:
            first -= 1
        start = steady(first, len(document))
        return document[:start], "".join(document[start:])

    def _context_of(self, hole: Hole, far: Sequence[str], room: int) -> tuple[str, ...]:
        """Other files and the far part of this one, as much of it as there is room for."""
        left = _CHARACTERS * self._most - sum(map(len, far))
        files: list[list[str]] = []
        for file in reversed(hole.files):  # the last is the most important
            if left <= 0:
                break
            text = nearest(_titled(file), left)
            left -= len(text)
            files.append(pieces(text))
        before = [piece for file in reversed(files) for piece in file]
        if before and (far or hole.before):
            before.append(_title(hole.name))
        return self._fitting([*before, *far], min(self._most, room - _START))

    def _fitting(self, parts: Sequence[str], room: int) -> tuple[str, ...]:
        counts = [self.count(part) for part in parts]
        drop = to_drop(sum(counts), max(0, room))
        start = 0
        while drop > 0:
            drop -= counts[start]
            start += 1
        return tuple(parts[start:])

    def _beginning(self, text: str, most: int) -> str:
        """The beginning of a text, of at most so many tokens; whole lines, if they are most."""
        said = text[: _CHARACTERS * 2 * most]
        tokens = piece_tokens(self._tokenizer, said) if said else ()
        if len(tokens) <= most and said == text:
            return text
        size = most
        while self.count(said) > most:  # cut somewhere else, a text may have a token more
            known = b"".join(self._bytes[token] or b"" for token in tokens[:size])
            said = said[: len(known.decode(errors="ignore"))]
            size -= 1
        line = said.rfind("\n") + 1
        return said[:line] if 2 * line > len(said) else said

    def _count_all(self, texts: Sequence[str]) -> int:
        return sum(map(self.count, texts))


def _template(hole: Hole, before: str, behind: str, room: int) -> Template:
    if hole.old is None:
        return Template.infill(before, behind, max_tokens=room, pattern=hole.pattern)
    old, start = hole.old.text, len(before)
    return Template.edit(
        before + old + behind,
        (start, start + len(old)),
        max_tokens=room,
        pattern=hole.pattern,
        keep=hole.old.keep,
    )


def _title(name: str) -> str:
    """As `head` and `tail` print several files, which every model of texts has read."""
    return f"==> {name or 'standard input'} <==\n"


def _titled(file: File) -> str:
    return f"{_title(file.name) if file.name else ''}{file.text.rstrip()}\n\n"
