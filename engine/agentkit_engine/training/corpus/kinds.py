"""The kinds of values that arguments take: what a call carries, and how a request says it.

Knows values and JSON Schema. Must not know tools, frames or conversations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Protocol

from agentkit_engine.training.corpus import coded, figures, made, spoken
from agentkit_engine.training.corpus.lexicon import Vocabulary

_EXTRA = 0.3  # of schemas say more than their type
_QUOTES = ('"', '"', "'")


@dataclass(frozen=True, slots=True)
class Said:
    """One value.

    Attributes:
        value: what the call must carry, as JSON.
        words: how the request says it.
    """

    value: Any
    words: str


class Kind(Protocol):
    """What an argument may hold."""

    def schema(self, random: Random) -> dict[str, Any]:
        """A JSON Schema fragment that admits every value drawn; sometimes it says more."""
        ...

    def draw(self, random: Random, *, held: bool = False) -> Said:
        """One value; only with `held` is anything of it a held-out entry of a vocabulary."""
        ...


@dataclass(frozen=True, slots=True)
class _Copied:
    """Strings that the request says as they are, or in quotes with chance `quoted`."""

    make: Callable[[Random, bool], str]
    quoted: float = 0.0
    longest: int = 100
    format: str | None = None

    def schema(self, random: Random) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string"}
        if self.format is not None and random.random() < 0.6:
            schema["format"] = self.format
        elif random.random() < _EXTRA / 3:
            schema["minLength"] = 1
        elif random.random() < _EXTRA / 3:
            schema["maxLength"] = self.longest * random.choice((1, 1, 2))
        return schema

    def draw(self, random: Random, *, held: bool = False) -> Said:
        text = self.make(random, held)
        if self.quoted and random.random() < self.quoted:
            return Said(text, _quoted(text, random.choice(_QUOTES)))
        return Said(text, text)


@dataclass(frozen=True, slots=True)
class _Turned:
    """Values that the request says in its own way; nothing of them is held out.

    A code can't be copied from its name, nor the name from its short form: what is never shown
    could not be known.
    """

    make: Callable[[Random], tuple[Any, str]]
    plain: Mapping[str, Any]
    extras: Sequence[Mapping[str, Any]] = ()
    often: float = _EXTRA

    def schema(self, random: Random) -> dict[str, Any]:
        if self.extras and random.random() < self.often:
            return {**self.plain, **random.choice(self.extras)}
        return dict(self.plain)

    def draw(self, random: Random, *, held: bool = False) -> Said:
        return Said(*self.make(random))


@dataclass(frozen=True, slots=True)
class _OneOf:
    options: Sequence[tuple[str, Sequence[str]]]

    def schema(self, random: Random) -> dict[str, Any]:
        return {"type": "string", "enum": [value for value, _ in self.options]}

    def draw(self, random: Random, *, held: bool = False) -> Said:
        value, synonyms = random.choice(self.options)
        if not synonyms or random.random() < 0.4:
            return Said(value, value)
        return Said(value, random.choice(synonyms))


@dataclass(frozen=True, slots=True)
class _Listed:
    kind: Kind

    def schema(self, random: Random) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array", "items": self.kind.schema(random)}
        draw = random.random()
        if draw < _EXTRA / 2:
            schema["minItems"] = 1
        elif draw < _EXTRA:
            schema["maxItems"] = random.choice((4, 5, 8, 10))
        return schema

    def draw(self, random: Random, *, held: bool = False) -> Said:
        size = random.choice((1, 2, 2, 2, 2, 3, 3, 3, 3, 4))
        items: list[Said] = []
        for _ in range(size + 2):  # two more tries where an item repeats
            item = self.kind.draw(random, held=held)
            if len(items) < size and all(item.value != other.value for other in items):
                items.append(item)
        return Said([item.value for item in items], _enumerated(random, self._words(random, items)))

    def _words(self, random: Random, items: Sequence[Said]) -> Sequence[str]:
        if isinstance(self.kind, _Copied):  # all of a list is quoted, or nothing
            if random.random() >= self.kind.quoted:
                return [item.value for item in items]
            mark = random.choice(_QUOTES)
            return [_quoted(item.value, mark) for item in items]
        return [_ungrouped(item) for item in items]


def _ungrouped(item: Said) -> str:
    """The words of an item; a number without commas: "1,500, 2 and 3" could be four."""
    number = isinstance(item.value, int | float) and item.words[0].isdigit()
    return spoken.digits(item.value) if number and "," in item.words else item.words


def _quoted(text: str, mark: str) -> str:
    """The text in quotes of a sort that it does not hold itself; or bare, if it holds both."""
    for quote in (mark, *_QUOTES):
        if quote not in text:
            return f"{quote}{text}{quote}"
    return text


def _enumerated(random: Random, words: Sequence[str]) -> str:
    """The words in a row, so that each item can be told from the next."""
    commas, ands = any("," in word for word in words), any(" and " in word for word in words)
    if commas:
        return "; ".join(words) if ands else random.choice((" and ", "; ")).join(words)
    if ands or random.random() < 0.25:
        return ", ".join(words)
    head, last = words[:-1], words[-1]
    mark = ", and " if len(head) > 1 and random.random() < 0.25 else " and "
    return f"{', '.join(head)}{mark}{last}" if head else last


def integers(low: int, high: int) -> Kind:
    """Whole numbers from `low` to `high`, said in digits or words."""
    return _Turned(partial(figures.integer, low, high), {"type": "integer"}, _bounds(low, high))


def numbers(low: float, high: float) -> Kind:
    """Numbers from `low` to `high`, some of them whole, said in digits or words."""
    return _Turned(partial(figures.number, low, high), {"type": "number"}, _bounds(low, high))


def _bounds(low: float, high: float) -> Sequence[Mapping[str, Any]]:
    return {"minimum": low, "maximum": high}, {"minimum": low}, {"maximum": high}


def one_of(options: Sequence[tuple[str, Sequence[str]]]) -> Kind:
    """One of the values, said as itself or as one of its synonyms."""
    return _OneOf(options)


def flag(yes: str, no: str) -> Kind:
    """A boolean said by implication; a side without words is never drawn."""
    sides = [(value, words) for value, words in ((True, yes), (False, no)) if words]
    return _Turned(lambda random: random.choice(sides), {"type": "boolean"})


def list_of(kind: Kind) -> Kind:
    """One to four different values of a kind, mostly two or three."""
    return _Listed(kind)


def vocabulary(words: Sequence[str]) -> Kind:
    """Strings that the request says as they are."""
    split = Vocabulary.of(words)
    return _Copied(lambda random, held: split.pick(random, held=held))


def _listed(name: str) -> _Copied:
    return _Copied(partial(made.listed, name))


_TEXT = {"type": "string"}
_EXACT = ({"minLength": 10, "maxLength": 10}, {"maxLength": 10})

KINDS: Mapping[str, Kind] = {
    "person": _Copied(made.person),
    "first_name": _Copied(made.first_name),
    "company": _Copied(made.company),
    "city": _Copied(made.city),
    "country": _listed("countries"),
    "landmark": _Copied(made.landmark),
    "address": _Copied(made.address),
    "street": _Copied(made.street),
    "room": _Copied(made.room),
    "product": _Copied(made.product, quoted=0.05),
    "dish": _Copied(made.dish),
    "ingredient": _listed("ingredients"),
    "book": _Copied(partial(made.work, "books"), quoted=0.3),
    "movie": _Copied(partial(made.work, "movies"), quoted=0.3),
    "song": _Copied(partial(made.work, "songs"), quoted=0.3),
    "artist": _Copied(made.artist),
    "team": _Copied(made.team),
    "sport": _listed("sports"),
    "animal": _listed("animals"),
    "plant": _listed("plants"),
    "subject": _Copied(made.subject, quoted=0.05),
    "phrase": _Copied(made.phrase, quoted=0.3),
    "sentence": _Copied(made.sentence, quoted=0.5, longest=200),
    "title": _Copied(made.title, quoted=0.4),
    "tag": _Copied(coded.tag, quoted=0.1),
    "username": _Copied(coded.username),
    "id": _Copied(coded.identifier),
    "uuid": _Copied(coded.uuid, format="uuid"),
    "email": _Copied(coded.email, format="email"),
    "url": _Copied(coded.url, longest=200, format="uri"),
    "host": _Copied(coded.host, format="hostname"),
    "path": _Copied(coded.path, quoted=0.05, longest=200),
    "filename": _Copied(coded.filename, quoted=0.05),
    "folder": _Copied(coded.folder, quoted=0.05, longest=200),
    "branch": _Copied(coded.branch),
    "commit": _Copied(coded.commit),
    "version": _Copied(coded.version),
    "sql": _Copied(coded.sql, quoted=0.5, longest=250),
    "code": _Copied(coded.code, quoted=0.5, longest=250),
    "regex": _Copied(coded.regex, quoted=0.5, format="regex"),
    "glob": _Copied(coded.glob, quoted=0.2),
    "phone": _Copied(coded.phone),
    "hex_color": _Copied(coded.hex_color),
    "color": _listed("colors"),
    "ticker": _Copied(coded.ticker, longest=5),
    "airport": _Copied(coded.airport, longest=3),
    "isbn": _Copied(coded.isbn, longest=17),
    "ip": _Copied(coded.ip, format="ipv4"),
    "table": _Copied(coded.table),
    "column": _Copied(coded.column),
    "medicine": _Copied(made.medicine),
    "symptom": _listed("symptoms"),
    "job": _listed("jobs"),
    "school": _Copied(made.school),
    "chemical": _listed("chemicals"),
    "timezone": _listed("timezones"),
    "language": _listed("languages"),
    "date": _Turned(figures.day, _TEXT, ({"format": "date"}, {"format": "date"}, *_EXACT), 0.7),
    "time": _Turned(figures.time, _TEXT, ({"minLength": 5, "maxLength": 5}, {"maxLength": 5})),
    "datetime": _Turned(figures.moment, _TEXT, ({"minLength": 19}, {"maxLength": 19})),
    "month": _Turned(
        partial(figures.short, spoken.MONTHS), _TEXT, ({"enum": list(spoken.MONTHS)},)
    ),
    "weekday": _Turned(
        partial(figures.short, spoken.WEEKDAYS), _TEXT, ({"enum": list(spoken.WEEKDAYS)},)
    ),
    "year": _Turned(figures.year, {"type": "integer"}, ({"minimum": 1800}, {"maximum": 2100})),
    "age": _Turned(
        figures.age, {"type": "integer"}, ({"minimum": 0}, {"minimum": 0, "maximum": 130})
    ),
    "amount": _Turned(
        figures.amount, {"type": "number"}, ({"minimum": 0}, {"exclusiveMinimum": 0})
    ),
    "percent": _Turned(
        figures.percent, {"type": "number"}, ({"minimum": 0, "maximum": 100}, {"minimum": 0})
    ),
    "latitude": _Turned(
        partial(figures.angle, 90), {"type": "number"}, ({"minimum": -90, "maximum": 90},)
    ),
    "longitude": _Turned(
        partial(figures.angle, 180), {"type": "number"}, ({"minimum": -180, "maximum": 180},)
    ),
    "currency": _Turned(
        partial(figures.code, "currencies", 0.4), _TEXT, ({"minLength": 3, "maxLength": 3},)
    ),
    "language_code": _Turned(partial(figures.code, "languages", 0.05), _TEXT, ({"maxLength": 2},)),
    "country_code": _Turned(partial(figures.code, "countries", 0.05), _TEXT, ({"maxLength": 2},)),
}
