"""Composed strings of people's world: names, places, titles, phrases, messages.

Knows how such strings are put together from vocabularies. Must not know schemas or requests. What
machines read (paths, addresses, code) is in `coded`.
"""

from __future__ import annotations

import re
from functools import cache
from random import Random

from agentkit_engine.training.corpus.lexicon import Pen, lines

_SLOT = re.compile(r"<(\w+)>")
_FRESH = 0.33  # of names, places, titles: copied, for nobody can know them
_FRESH_WORD = 0.15  # of the words of a phrase: about a third of phrases has one
_SMALL_WORDS = frozenset(
    ("a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "the", "to", "with")
)


@cache
def _frames(name: str) -> tuple[tuple[str, ...], ...]:
    """The lines of a file of frames, cut at their slots: text, slot, text, slot, ..., text."""
    return tuple(tuple(_SLOT.split(line)) for line in lines(name))


def written(pen: Pen, name: str, *, fresh: float) -> str:
    """A text after one of the frames of a file.

    A slot names a vocabulary; `n` is a small number and `coin` a made-up word.
    """
    parts = list(pen.random.choice(_frames(name)))
    for place in range(1, len(parts), 2):
        slot = parts[place]
        if slot == "n":
            parts[place] = str(pen.random.randint(2, 40))
        elif slot == "coin":
            parts[place] = pen.coin()
        elif slot in _PROPER:
            parts[place] = pen.name(slot, fresh=_FRESH)
        else:
            parts[place] = pen.word(slot, fresh=fresh if slot in _COMMON else 0.0)
    return "".join(parts)


_PROPER = frozenset(("first_names", "surnames", "cities", "companies"))
_COMMON = frozenset(("things", "adjectives", "subjects"))


def titled(text: str) -> str:
    """The text with the capitals of a title."""
    words = text.split(" ")
    return " ".join(
        word if place and word in _SMALL_WORDS else word[:1].upper() + word[1:]
        for place, word in enumerate(words)
    )


def first_name(random: Random, held: bool) -> str:
    """A given name, one third made up."""
    return Pen(random, held=held).name("first_names", fresh=_FRESH)


def person(random: Random, held: bool) -> str:
    """A person: mostly a full name."""
    pen = Pen(random, held=held)
    fresh = _FRESH / 2
    draw = random.random()
    if draw < 0.06:
        address = random.choice(("Dr.", "Mr.", "Ms.", "Mrs.", "Professor"))
        return f"{address} {pen.name('surnames', fresh=_FRESH)}"
    first = pen.name("first_names", fresh=fresh)
    if draw < 0.26:
        return first
    last = pen.name("surnames", fresh=fresh)
    if draw < 0.31:
        return f"{first} {random.choice('ABCDEFGHIJKLMNOPRSTVW')}. {last}"
    if draw < 0.35:
        return f"{first} {last}-{pen.name('surnames', fresh=fresh)}"
    return f"{first} {last}"


def company(random: Random, held: bool) -> str:
    """A company, real to nobody."""
    pen = Pen(random, held=held)
    draw = random.random()
    if draw < 0.45:
        return pen.name("companies")
    if draw < 0.6:
        others = random.choice(("Sons", "Co", "Partners", "Daughters"))
        return f"{pen.name('surnames', fresh=0.2)} & {others}"
    name = pen.name("surnames", fresh=0.9)
    return f"{name} {pen.word('company_ends')}" if draw < 0.9 else name


def city(random: Random, held: bool) -> str:
    """A city or town."""
    pen = Pen(random, held=held)
    name = pen.name("cities", fresh=_FRESH)
    draw = random.random()
    if draw < 0.04:
        head = random.choice(("New", "North", "South", "East", "West", "Port", "Saint", "Lake"))
        return f"{head} {name}"
    return f"{name}, {pen.word('countries')}" if draw < 0.08 else name


def landmark(random: Random, held: bool) -> str:
    """A sight or a building with a name."""
    pen = Pen(random, held=held)
    if random.random() < 0.6:
        return pen.name("landmarks")
    return f"{pen.name('surnames', fresh=0.6)} {pen.word('landmark_ends')}"


def street(random: Random, held: bool) -> str:
    """The name of a street."""
    pen = Pen(random, held=held)
    name = pen.name("streets" if random.random() < 0.6 else "surnames", fresh=_FRESH)
    return f"{name} {pen.word('street_ends')}"


def address(random: Random, held: bool) -> str:
    """A house in a street, sometimes with its town."""
    house = f"{random.randint(1, 240)}{random.choice(('', '', '', '', 'A', 'B'))}"
    place = f"{house} {street(random, held)}"
    draw = random.random()
    if draw < 0.3:
        return f"{place}, {Pen(random, held=held).name('cities', fresh=_FRESH)}"
    return (
        f"{place}, {random.choice(('Apt', 'Unit', 'Flat'))} {random.randint(1, 60)}"
        if draw < 0.35
        else place
    )


def room(random: Random, held: bool) -> str:
    """A room of a home, an office or a hotel."""
    pen = Pen(random, held=held)
    draw = random.random()
    if draw < 0.75:
        return pen.word("rooms")
    if draw < 0.85:
        return (
            f"{pen.name('surnames', fresh=0.5)} {random.choice(('room', 'hall', 'suite', 'Room'))}"
        )
    return f"{pen.word('adjectives')} {pen.word('rooms')}"


def product(random: Random, held: bool) -> str:
    """A thing one can buy."""
    pen = Pen(random, held=held)
    draw = random.random()
    if draw < 0.25:
        return pen.word("things", fresh=_FRESH)
    if draw < 0.5:
        return f"{pen.word('adjectives')} {pen.word('things', fresh=_FRESH_WORD)}"
    if draw < 0.65:
        return f"{pen.word('materials')} {pen.word('things', fresh=_FRESH_WORD)}"
    brand = pen.name("companies", fresh=0.6)
    return f"{brand} {pen.word('things')}" if draw < 0.85 else f"{brand} {_model(random)}"


def _model(random: Random) -> str:
    number = random.choice(
        (random.randint(1, 20), random.randint(1, 90) * 10, random.randint(100, 9900))
    )
    return random.choice(
        (
            f"{number}",
            f"{random.choice('ABCDGKMPRSTVXZ')}{number}",
            f"{number} Pro",
            f"Mini {number}",
        )
    )


def title(random: Random, held: bool) -> str:
    """A title of two to six words: of a document, an event, a task, a list."""
    pen = Pen(random, held=held)
    text = written(pen, "title_frames", fresh=_FRESH_WORD)
    draw = random.random()
    return titled(text) if draw < 0.6 else text[:1].upper() + text[1:] if draw < 0.85 else text


def work(name: str, random: Random, held: bool) -> str:
    """A work of art: of the named list of works, or one that nobody made."""
    pen = Pen(random, held=held)
    if random.random() < 0.45:
        return pen.name(name)
    return titled(written(pen, "work_frames", fresh=_FRESH))


def artist(random: Random, held: bool) -> str:
    """Who makes music: known, or a person or a band that nobody knows."""
    draw = random.random()
    if draw < 0.65:
        return Pen(random, held=held).name("artists")
    if draw < 0.85:
        return person(random, held)
    pen = Pen(random, held=held)
    return titled(f"the {pen.word('adjectives')} {pen.word('things', fresh=_FRESH)}")


def team(random: Random, held: bool) -> str:
    """A sports team, or one of a company."""
    pen = Pen(random, held=held)
    if random.random() < 0.5:
        return pen.name("teams")
    return f"{pen.name('cities', fresh=_FRESH)} {pen.word('team_ends')}"


def dish(random: Random, held: bool) -> str:
    """Something to eat."""
    pen = Pen(random, held=held)
    draw = random.random()
    if draw < 0.7:
        return pen.word("dishes")
    if draw < 0.85:
        form = random.choice(("soup", "salad", "curry", "pie", "stew", "pasta"))
        return f"{pen.word('ingredients')} {form}"
    return f"{pen.word('dishes')} with {pen.word('ingredients')}"


def listed(name: str, random: Random, held: bool) -> str:
    """An entry of the named vocabulary."""
    return Pen(random, held=held).word(name)


def fresh_name(name: str, random: Random, held: bool) -> str:
    """A proper name of the vocabulary, or one made up for one draw in three."""
    return Pen(random, held=held).name(name, fresh=_FRESH)


def fresh_word(name: str, random: Random, held: bool) -> str:
    """A common word of the vocabulary, or one made up for one draw in three."""
    return Pen(random, held=held).word(name, fresh=_FRESH)


def subject(random: Random, held: bool) -> str:
    """A topic of one to three words."""
    pen = Pen(random, held=held)
    draw = random.random()
    if draw < 0.65:
        return pen.word("subjects", fresh=0.2)
    if draw < 0.8:
        return (
            f"{pen.word('adjectives', fresh=_FRESH_WORD)} {pen.word('things', fresh=_FRESH_WORD)}"
        )
    return f"{pen.word('things', fresh=_FRESH)} {pen.word('topic_ends')}"


def phrase(random: Random, held: bool) -> str:
    """Search words, one to five."""
    return written(Pen(random, held=held), "phrase_frames", fresh=_FRESH_WORD)


def sentence(random: Random, held: bool) -> str:
    """A message of four to twelve words, with no mark at its end."""
    text = written(Pen(random, held=held), "sentence_frames", fresh=0.1)
    return text[:1].upper() + text[1:] if random.random() < 0.5 else text


def medicine(random: Random, held: bool) -> str:
    """A medicine, sometimes with its strength."""
    pen = Pen(random, held=held)
    name = pen.word("medicines", fresh=0.2)
    if random.random() < 0.15:
        return f"{name} {random.choice((5, 10, 20, 25, 50, 100, 200, 400, 500))} mg"
    return name


def school(random: Random, held: bool) -> str:
    """A school or a university."""
    pen = Pen(random, held=held)
    draw = random.random()
    if draw < 0.5:
        return pen.name("schools")
    if draw < 0.6:
        return f"University of {pen.name('cities', fresh=_FRESH)}"
    list_name = "cities" if draw < 0.8 else "surnames"
    return f"{pen.name(list_name, fresh=_FRESH)} {pen.word('school_ends')}"
