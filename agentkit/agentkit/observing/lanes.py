"""What the picture of a run shows: its turns, the lanes of each, and what is left out of many.

Knows results and spans. Must not know how lanes are drawn, but for how high they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from agentkit.observing.trace import counted, in_order, lowest, ms, seconds
from agentkit.result import RunResult, Span

MOST_LANES = 48  # of all turns that are shown
MOST_LANES_OF_A_TURN = 12
LANE, PAD = 18, 5  # pixels: how high a lane is, and what is left free above and below

PHASES = ("encode", "denoise", "verify", "lattice")
_ENDS = 4  # turns that are shown of a long run's beginning and of its end


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one colour."""

    started: float
    seconds: float
    style: str


@dataclass(frozen=True, slots=True)
class Lane:
    """A row: a decision with what was encoded for it, a refill, or a call."""

    kind: str
    label: str
    seconds: float
    pieces: tuple[Piece, ...]
    tip: str
    failed: bool = False

    @property
    def worth(self) -> tuple[bool, bool, float]:
        """What a turn shows of many: its decisions, what failed, and the slowest."""
        return self.kind == "decide", self.failed, self.seconds


@dataclass(frozen=True, slots=True)
class TurnShown:
    """A turn and its lanes. more: what is said of those that are not shown."""

    number: int
    started: float
    ended: float
    lanes: tuple[Lane, ...]
    more: str
    failed: bool

    @property
    def height(self) -> int:
        return LANE * max(len(self.lanes) + bool(self.more), 1) + 2 * PAD


@dataclass(frozen=True, slots=True)
class TurnsLeftOut:
    """Turns in a row that are not shown."""

    turns: tuple[TurnShown, ...]
    height: int = LANE


def turns_of(result: RunResult[Any]) -> list[TurnShown]:
    """All turns of a run. How long a model took to load would dwarf them: the table tells that."""
    spans = in_order([span for span in result.spans if span.kind != "open"])
    return [
        _as_turn(result, number, [*some]) for number, some in groupby(spans, attrgetter("turn"))
    ]


def _as_turn(result: RunResult[Any], number: int, spans: Sequence[Span]) -> TurnShown:
    lanes: list[Lane] = []
    encoded: Span | None = None
    for span in spans:
        if span.kind == "encode":
            encoded = span
        elif span.kind in ("decide", "refill"):
            lanes.append(_decision_lane(result, span, encoded))
            encoded = None
        elif span.kind == "call":
            lanes.append(_call_lane(result, span))
    if encoded is not None:  # nothing was decided behind it, in this turn at least
        piece, tip = Piece(encoded.started, encoded.seconds, "encode"), ms(encoded.seconds)
        lanes.append(Lane("encode", "encode", encoded.seconds, (piece,), f"encode: {tip} ms"))
    ranked = sorted(range(len(lanes)), key=lambda index: lanes[index].worth, reverse=True)
    kept = sorted(ranked[:MOST_LANES_OF_A_TURN])
    return TurnShown(
        number=number,
        started=min(span.started for span in spans),
        ended=seconds(spans),
        lanes=tuple(lanes[index] for index in kept),
        more=_more([lanes[index] for index in ranked[MOST_LANES_OF_A_TURN:]]),
        failed=any(lane.failed for lane in lanes),
    )


def _decision_lane(result: RunResult[Any], span: Span, encoded: Span | None) -> Lane:
    pieces: list[Piece] = []
    before = 0.0
    if encoded is not None:
        before = encoded.seconds
        pieces.append(Piece(encoded.started, before, "encode"))
    timings = span.decision.timings if span.decision is not None else None
    took = {name: getattr(timings, name, 0.0) for name in PHASES}
    took["encode"] = max(took["encode"] - before, 0.0)  # of which what came before is a part
    most = max(sum(took.values()), span.seconds, 1e-9)
    at = span.started
    for name in PHASES:  # phases take turns; they are drawn one after the other, as sums
        length = took[name] / most * span.seconds
        pieces.append(Piece(at, length, name))
        at += length
    pieces.append(Piece(at, span.started + span.seconds - at, "other"))
    label, whole = f"{span.kind} {span.name}", before + span.seconds
    took["encode"] += before
    figures = [f"{label}: {ms(whole)} ms"]
    figures += [f"{name} {ms(took[name])} ms" for name in PHASES if took[name] > 0]
    if span.decision is not None:
        figures.append(counted(span.decision.forwards, "forward"))
        figures.append(counted(span.decision.tokens, "token"))
    figures += _sure(lowest(span, result.confidence))
    shown = tuple(piece for piece in pieces if piece.seconds > 0)
    return Lane(span.kind, label, whole, shown, ", ".join(figures), span.failed)


def _call_lane(result: RunResult[Any], span: Span) -> Lane:
    ended = "failed" if span.failed else "ok"
    figures = [f"call {span.name}: {ended}, {ms(span.seconds)} ms"]
    figures += _sure(lowest(span, result.confidence))
    piece = Piece(span.started, span.seconds, "failed" if span.failed else "call")
    return Lane("call", span.name, span.seconds, (piece,), ", ".join(figures), span.failed)


def _sure(share: float | None) -> list[str]:
    return [] if share is None else [f"confidence {share:.2f}"]


def _more(lanes: Sequence[Lane]) -> str:
    if not lanes:
        return ""
    failed = sum(lane.failed for lane in lanes)
    said = f", {failed} of them failed" if failed else ""
    slowest = max(lane.seconds for lane in lanes)
    return f"and {len(lanes)} more{said}; the slowest took {ms(slowest)} ms"


def bands_of(turns: Sequence[TurnShown]) -> list[TurnShown | TurnsLeftOut]:
    """All turns; of a long run its beginning, its end, and the worst between."""
    chosen = _chosen(turns)
    bands: list[TurnShown | TurnsLeftOut] = []
    for shown, some in groupby(turns, lambda turn: turn.number in chosen):
        together = tuple(some)
        bands += together if shown else (TurnsLeftOut(together),)
    return bands


def _chosen(turns: Sequence[TurnShown]) -> set[int]:
    if sum(len(turn.lanes) for turn in turns) <= MOST_LANES:
        return {turn.number for turn in turns}
    between = sorted(
        turns[_ENDS:-_ENDS], key=lambda turn: (turn.failed, turn.ended - turn.started), reverse=True
    )
    chosen: set[int] = set()
    room = MOST_LANES
    for turn in [*turns[:1], *turns[-1:], *turns[1:_ENDS], *turns[-_ENDS:-1], *between]:
        if turn.number not in chosen and len(turn.lanes) <= room:
            chosen.add(turn.number)
            room -= len(turn.lanes) + 1  # what is left out beside it takes a row too
    return chosen
