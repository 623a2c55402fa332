"""Canvases: where the literals and slots of a template lie, in tokens.

Knows token positions and nothing of models or automata. The engine and the training objective lay
out the very same canvases through this module, so that training and inference cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from agentkit_engine.errors import TemplateError
from agentkit_engine.syntax import Syntax
from agentkit_engine.template import Hole, Path, Segment, Text

Encode: TypeAlias = Callable[[bytes], list[int]]

_FORMAT_WIDTHS = {"date": 10, "time": 9, "date-time": 20, "email": 16, "uuid": 36, "ipv4": 15}
_ARRAY_WIDTH = 24
_UNION_WIDTH = 16
_INTEGER_WIDTH = 6
_NUMBER_WIDTH = 8


@dataclass(frozen=True, slots=True)
class Slot:
    """A region of `width` positions from `start`, for the value of `hole`."""

    start: int
    width: int
    hole: Hole

    @property
    def stop(self) -> int:
        return self.start + self.width


@dataclass(frozen=True, slots=True)
class Canvas:
    """A block of tokens to be denoised: pins, and slots that stand as filler until they are filled.

    Attributes:
        tokens: one id a position.
        slots: the free regions, in order; every other position is pinned.
    """

    tokens: tuple[int, ...]
    slots: tuple[Slot, ...]

    @property
    def width(self) -> int:
        return len(self.tokens)

    def free(self) -> list[bool]:
        """Which positions are free, one flag a position."""
        flags = [False] * self.width
        for slot in self.slots:
            flags[slot.start : slot.stop] = [True] * slot.width
        return flags


def lay_out(
    segments: Sequence[Segment],
    *,
    encode: Encode,
    width_of: Callable[[Hole], int],
    filler: int,
    opening: Sequence[int] = (),
    closing: Sequence[int] = (),
) -> Canvas:
    """Places literals and slots one after the other.

    Args:
        segments: what `template.outline` gives.
        encode: surface bytes to token ids.
        width_of: the width of a hole's slot, in tokens.
        filler: the token that stands in a slot and pads its value.
        opening: tokens pinned before the first segment.
        closing: tokens pinned behind the last.
    """
    tokens = list(opening)
    slots: list[Slot] = []
    for segment in segments:
        if isinstance(segment, Text):
            tokens += encode(segment.content)
        else:
            slots.append(Slot(len(tokens), width_of(segment), segment))
            tokens += [filler] * slots[-1].width
    return Canvas((*tokens, *closing), tuple(slots))


def lay_out_choice(
    options: Sequence[Sequence[int]], *, opening: Sequence[int], filler: int, calls: int = 1
) -> tuple[list[tuple[int, ...]], list[int], int]:
    """Where the names of calls stand: behind an opening each, in slots of one width.

    Args:
        options: the names' tokens, and whatever stands for none of them.

    Returns:
        The options, padded to the slot; where each of the `calls` slots starts; all their width.
    """
    width = max(map(len, options))
    padded = [(*option, *[filler] * (width - len(option))) for option in options]
    one = len(opening) + width
    return padded, [len(opening) + number * one for number in range(calls)], calls * one


def slot_width(hole: Hole, *, syntax: Syntax, encode: Encode, string_width: int) -> int:
    """How many tokens a slot gets by its schema: exact for enumerations, typical for free values.

    Args:
        string_width: the width of a string of unknown length.
    """
    schema = hole.schema
    if isinstance(schema, bool):
        return _UNION_WIDTH
    options = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if options is not None:
        written = [surface(value, hole, syntax) for value in options if _fits(value, hole)]
        return max((len(encode(text)) for text in written), default=1)
    match schema.get("type"):
        case "boolean" | "null":
            return max(len(encode(syntax.dumps(value))) for value in (True, False, None))
        case "integer":
            return _integer_width(schema, encode)
        case "number":
            return _NUMBER_WIDTH
        case "string":
            quotes = 0 if hole.content_only else 2
            return quotes + _string_width(schema, string_width)
        case "array":
            return _ARRAY_WIDTH
        case _:
            return _UNION_WIDTH


def surface(value: Any, hole: Hole, syntax: Syntax) -> bytes:
    """`value` as it is written inside `hole`'s slot."""
    written = syntax.dumps(value)
    if not hole.content_only:
        return written
    return written[len(syntax.quote) : -len(syntax.quote)]


def _fits(value: Any, hole: Hole) -> bool:
    return isinstance(value, str) or not hole.content_only


def _integer_width(schema: Mapping[str, Any], encode: Encode) -> int:
    if "minimum" in schema and "maximum" in schema:
        ends = (schema["minimum"], schema["maximum"])
        return max(len(encode(str(int(end)).encode())) for end in ends)
    return _INTEGER_WIDTH


def _string_width(schema: Mapping[str, Any], usual: int) -> int:
    typical = _FORMAT_WIDTHS.get(schema.get("format", ""), usual)
    longest = schema.get("maxLength")
    # a token is at least one character for all but rare scripts, so more tokens are never needed
    return typical if longest is None else max(1, min(typical, int(longest)))


def pour(
    canvas: Canvas,
    values: Mapping[Path, Any],
    *,
    syntax: Syntax,
    encode: Encode,
    filler: int,
    absent: int | None,
) -> tuple[int, ...]:
    """The canvas's tokens with each slot holding its value, as training sees it.

    Raises:
        TemplateError: a value is longer than its slot, or missing where it is required.
    """
    tokens = list(canvas.tokens)
    for slot in canvas.slots:
        if slot.hole.path in values:
            ids = encode(surface(values[slot.hole.path], slot.hole, syntax))
        elif slot.hole.optional and absent is not None:
            ids = [absent]
        else:
            raise TemplateError(f"no value for {slot.hole.path!r}, which must not be absent")
        if len(ids) > slot.width:
            raise TemplateError(
                f"the value at {slot.hole.path!r} takes {len(ids)} tokens, "
                f"its slot has {slot.width}"
            )
        tokens[slot.start : slot.stop] = ids + [filler] * (slot.width - len(ids))
    return tuple(tokens)
