"""How sure the model was of each value of a call, from the probabilities of its tokens.

Knows JSON texts and tokens. Servers give the tokens of what the model wrote, markup included, and
the arguments apart from it, often spelt anew; so the arguments are looked up among the tokens by
their value. Where they are not found nothing is said.
"""

from __future__ import annotations

import itertools
import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from agentkit.backends.openai.reply import Token
from agentkit.pointer import pointer_of

_DECODER = json.JSONDecoder()


class Likelihoods:
    """The tokens of one reply, read from left to right: a call after another."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        # A character a byte, so that places in the text are places in the tokens; what marks JSON
        # out is ASCII.
        self._text = b"".join(token.text for token in tokens).decode("latin-1")
        self._ends = list(itertools.accumulate(len(token.text) for token in tokens))
        self._logs = [token.logprob for token in tokens]
        self._read = 0

    def of_call(
        self, name: str, arguments: dict[str, Any]
    ) -> tuple[float | None, dict[str, float]]:
        """The probability of the tool's name, and of the values at JSON pointers."""
        span = self._find(arguments)
        if span is None:
            return None, {}
        start, end = span
        places: dict[str, tuple[int, int]] = {}
        if arguments:
            _locate(self._text, start, "", places)
        named = self._text.rfind(name, self._read, start)
        self._read = end
        values = {pointer: self._share(*place) for pointer, place in places.items()}
        return (None if named < 0 else self._share(named, named + len(name))), values

    def _find(self, arguments: dict[str, Any]) -> tuple[int, int] | None:
        start = self._text.find("{", self._read)
        while start >= 0:
            try:
                end = _end_of(self._text, start)
                if _value(self._text[start:end]) == arguments:
                    return start, end
            except (ValueError, RecursionError):
                pass
            start = self._text.find("{", start + 1)
        return None

    def _share(self, start: int, end: int) -> float:
        first = bisect_right(self._ends, start)
        last = bisect_left(self._ends, end)
        return min(1.0, math.exp(math.fsum(self._logs[first : last + 1])))


def _locate(text: str, start: int, pointer: str, places: dict[str, tuple[int, int]]) -> int:
    """Note where each value that holds no other is written; gives the place behind the JSON.

    A text counts from behind its opening quote, which tokens often share with what precedes it, to
    its closing one, which settles its length.
    """
    opening = text[start]
    place = _skip(text, start + 1)
    if opening not in "{[" or text[place] in "}]":
        end = _end_of(text, start)
        places[pointer] = start + (opening == '"'), end
        return end
    for count in itertools.count():
        name: str | int = count
        if opening == "{":
            end = _end_of(text, place)
            name = _value(text[place:end])
            place = _skip(text, _skip(text, end) + 1)
        place = _skip(text, _locate(text, place, pointer + pointer_of(name), places))
        if text[place] in "}]":
            break
        place = _skip(text, place + 1)
    return place + 1


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place


def _end_of(text: str, start: int) -> int:
    return _DECODER.raw_decode(text, start)[1]


def _value(text: str) -> Any:
    return json.loads(text.encode("latin-1"))
