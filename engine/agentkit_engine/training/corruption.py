"""How canvases are corrupted for training, and what each position then counts in the loss.

Uniform-state noise as the real model knows it: a random token; or a mask token, for checkpoints
that were taught one. Knows canvases. Must not know tensors or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Protocol

_GAP = 0.5  # how often of the rest one stretch is hidden, as later steps see it: what comes first
# is sure first
_LATER_FILLER = 0.1  # weight of filler behind the first: easy, and most of a slot
_KEPT = 0.25  # weight of what was not corrupted: under uniform noise the model must recognise it


class Piece(Protocol):
    """A canvas; see `canvases.Block`."""

    @property
    def tokens(self) -> Sequence[int]: ...
    @property
    def free(self) -> Sequence[bool]: ...
    @property
    def worth(self) -> float: ...
    @property
    def blank(self) -> float: ...


def corrupted(
    piece: Piece, *, filler: int, vocabulary: int, mask: int | None, random: Random
) -> list[int]:
    """The canvas with some of its free positions hidden.

    Args:
        filler: the token that pads slots.
        vocabulary: random tokens are below it.
        mask: what hides them; None for random tokens.
    """
    found = list(piece.tokens)
    for place in _noisy_positions(piece, filler, random):
        found[place] = random.randrange(vocabulary) if mask is None else mask
    return found


def _noisy_positions(piece: Piece, filler: int, random: Random) -> list[int]:
    free = [place for place, flag in enumerate(piece.free) if flag]
    if random.random() < piece.blank:
        return free
    if random.random() < _GAP:
        said = sum(piece.tokens[place] != filler for place in free)
        start = random.randrange(said + 1)
        stop = len(free) if random.random() < 0.5 else random.randint(start, len(free))
        return free[start:stop]
    level = random.random()
    return [place for place in free if random.random() < level]


def weights(piece: Piece, noisy: Sequence[int], *, filler: int) -> list[float]:
    """What each position counts: pins nothing, what was kept and later filler little."""
    found: list[float] = []
    previous = -1
    for token, seen, free in zip(piece.tokens, noisy, piece.free, strict=True):
        weight = piece.worth * (_KEPT if seen == token else 1.0)
        if token == filler and previous == filler:
            weight *= _LATER_FILLER
        found.append(weight if free else 0.0)
        previous = token
    return found
