"""Vocabularies, each split into a seen and a held-out part, and words made up on the spot.

Knows word lists. Must not know kinds of values, schemas or requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from itertools import product
from random import Random

_SHARE = 8  # one entry in eight is held out
_SMALL = 8  # a shorter vocabulary is not split: its held part would be nothing, or most of it

_ONSETS = (
    *"bcdfghjklmnprstvwyz", *("br", "cr", "dr", "fr", "gr", "pr", "tr", "bl", "cl", "fl", "gl"),
    *("pl", "sl", "ch", "sh", "th", "st", "sk", "sp", "sn", "qu", "kh", "zh"),
)  # fmt: skip
_NUCLEI = (*"aeiouaeiou", "ai", "ea", "ee", "ia", "io", "oo", "ou", "ei", "au")
_CODAS = ("", "", "", "", "n", "r", "l", "s", "m", "t", "k", "x", "nd", "rk", "st", "nt", "ld")
_OPEN = tuple(onset + nucleus for onset, nucleus in product(_ONSETS, _NUCLEI))
_RUDE = frozenset(
    ("shit", "slut", "cunt", "kunt", "fuk", "dik", "tit", "prik", "kok", "pis", "cum")
)
_CLOSED = tuple(start + coda for start, coda in product(_OPEN, _CODAS) if start + coda not in _RUDE)


def is_held(entry: str) -> bool:
    """Whether an entry belongs to the held-out part, in every vocabulary and on every machine."""
    return blake2b(entry.casefold().encode(), digest_size=1).digest()[0] % _SHARE == 0


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A list of entries in two parts; a small list is both parts.

    Attributes:
        seen: what training may draw.
        held: what only measurements draw.
    """

    seen: tuple[str, ...]
    held: tuple[str, ...]

    @classmethod
    def of(cls, entries: Iterable[str]) -> Vocabulary:
        """Split the entries; if chance holds out none of a large list, the last one is."""
        every = tuple(dict.fromkeys(entries))
        if len(every) < _SMALL:
            return cls(every, every)
        held = tuple(entry for entry in every if is_held(entry)) or every[-1:]
        return cls(tuple(entry for entry in every if entry not in held), held)

    def pick(self, random: Random, *, held: bool = False) -> str:
        """One entry of a part."""
        return random.choice(self.held if held else self.seen)


@cache
def lines(name: str) -> tuple[str, ...]:
    """The lines of a word file that say something."""
    source = files("agentkit_engine.training.corpus").joinpath("data", "words", f"{name}.txt")
    rows = (row.strip() for row in source.read_text(encoding="utf-8").splitlines())
    return tuple(row for row in rows if row and not row.startswith("#"))


@cache
def entries(name: str) -> tuple[str, ...]:
    """The entries of a word file: separated by commas or on lines of their own."""
    found = (entry.strip() for row in lines(name) for entry in row.split(","))
    return tuple(dict.fromkeys(entry for entry in found if entry))


@cache
def lexicon(name: str) -> Vocabulary:
    """The vocabulary of a word file; of `name = code` entries, the names."""
    return Vocabulary.of(entry.partition(" = ")[0] for entry in entries(name))


@cache
def codes(name: str) -> Mapping[str, str]:
    """The codes of a word file of `name = code` entries."""
    pairs = (entry.partition(" = ") for entry in entries(name))
    return {word: code for word, _, code in pairs}


def coined(random: Random, *, held: bool = False) -> str:
    """A pronounceable word that nobody knows, of either part."""
    while True:
        start = random.choice(_OPEN) if random.random() < 0.8 else ""
        word = start + random.choice(_CLOSED if random.random() < 0.6 else _OPEN)
        if random.random() < 0.35:
            word = random.choice(_OPEN) + word
        if len(word) > 3 and is_held(word) == held:
            return word


class Pen:
    """Draws the words of one composed value.

    A held-out value has at least one held-out word, its first; each further word is held out half
    of the time, so that it meets known words as new things in the world do.
    """

    __slots__ = ("_held", "_owed", "random")

    def __init__(self, random: Random, *, held: bool) -> None:
        self.random = random
        self._held = held
        self._owed = held

    def word(self, name: str, *, fresh: float = 0.0) -> str:
        """An entry of the named vocabulary, or with chance `fresh` a made-up word."""
        held = self._part()
        if fresh and self.random.random() < fresh:
            return coined(self.random, held=held)
        return lexicon(name).pick(self.random, held=held)

    def name(self, name: str, *, fresh: float = 0.0) -> str:
        """As `word`; a made-up one begins with a capital."""
        held = self._part()
        if fresh and self.random.random() < fresh:
            return coined(self.random, held=held).capitalize()
        return lexicon(name).pick(self.random, held=held)

    def coin(self) -> str:
        """A made-up word."""
        return coined(self.random, held=self._part())

    def _part(self) -> bool:
        held = self._held and (self._owed or self.random.random() < 0.5)
        self._owed = False
        return held
