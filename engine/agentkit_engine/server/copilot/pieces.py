"""A text in pieces that stay as they are while it is typed.

Knows characters. Must not know tokens or models.

What was encoded of a text can be used again as far as the text is the same, token by token. Pieces
are tokenised each by itself (`Engine.document`). They end where a word does, as tokens do anyway,
and where a piece ends is told by what stands before, and the one character behind: typing at the
end of a text changes the last piece, or begins another, and no more.
"""

from __future__ import annotations

import re

_PIECE = re.compile(r"(?s).{24,48}?(?<=\S)(?=\s)|.{48}|.+")
_SPLINTER = 4
_STEPS = (8, 4, 2)
_SHARE = 4  # what is too long is shortened by such a part of what is kept, at least
_SEEN = 1024  # characters that are looked through for a line's beginning


def pieces(text: str) -> list[str]:
    """The text in pieces of a few words each."""
    return _PIECE.findall(text)


def splinters(piece: str) -> list[str]:
    """A piece of very many tokens, in parts of few."""
    return [piece[start : start + _SPLINTER] for start in range(0, len(piece), _SPLINTER)]


def steady(first: int, stop: int) -> int:
    """A number from `first` on, below `stop`, that stays the same while both grow a little.

    The first multiple of eight, or else of less, that is not beyond the middle.
    """
    middle = (first + stop) // 2
    multiples = (-(-first // step) * step for step in _STEPS)
    return next((multiple for multiple in multiples if multiple <= middle), first)


def to_drop(length: int, room: int) -> int:
    """How much of something of this length is dropped at its beginning, for the rest to fit.

    More than needs be: so it stays the same for long while the length grows.
    """
    if length <= room:
        return 0
    share = max(1, room // _SHARE)
    return min(length, -((room - length) // share) * share)


def nearest(text: str, room: int) -> str:
    """The end of a text, of at most `room` characters; from a line's beginning on, if it can."""
    start = to_drop(len(text), room)
    if not start:
        return text
    line = text.find("\n", start, start + _SEEN)
    return text[start if line < 0 else line + 1 :]
