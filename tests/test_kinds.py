"""The kinds of values: reproducible, valid by their schemas, held out in part, said as they are.

What the corpus says of numbers, dates and times is read back here by a small reader of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agentkit_engine.training.corpus.kinds import (
    KINDS,
    Kind,
    Said,
    flag,
    integers,
    list_of,
    numbers,
    one_of,
    vocabulary,
)
from agentkit_engine.training.corpus.lexicon import (
    Vocabulary,
    coined,
    entries,
    is_held,
    lexicon,
    lines,
)

WORDS = sorted(
    path.name.removesuffix(".txt")
    for path in files("agentkit_engine.training.corpus").joinpath("data", "words").iterdir()
)
FRAMES = [name for name in WORDS if name.endswith("_frames")]
VOCABULARIES = [name for name in WORDS if name not in FRAMES]

BROAD = {
    "first_names": 400, "surnames": 400, "cities": 400, "countries": 120, "companies": 150,
    "things": 800, "verbs": 150, "adjectives": 200, "dishes": 60, "ingredients": 60, "books": 60,
    "movies": 60, "songs": 60, "artists": 60, "animals": 60, "plants": 60, "subjects": 60,
    "jobs": 60, "medicines": 60, "symptoms": 60, "chemicals": 60, "teams": 60, "sports": 60,
    "rooms": 60, "colors": 60, "landmarks": 60, "schools": 60, "tags": 60, "languages": 60,
    "tickers": 60, "airports": 60, "tables": 60, "columns": 60, "timezones": 60, "bare_words": 400,
}  # fmt: skip
TURNED = {
    "date", "time", "datetime", "month", "weekday", "year", "age", "amount", "percent",
    "latitude", "longitude", "currency", "language_code", "country_code",
}  # fmt: skip
PROGRAMS = {"code", "regex", "glob", "sql"}
# a seen value is made of seen words only, and a held-out one is not
SPLIT = sorted(
    KINDS.keys() - TURNED - PROGRAMS
    - {"id", "uuid", "branch", "commit", "version", "phone", "hex_color", "isbn", "ip"}
)  # fmt: skip
MADE_UP = (
    "person", "first_name", "city", "landmark", "street", "product", "title", "tag", "username",
    "phrase", "subject", "company", "email", "path", "book",
)  # fmt: skip

CATALOGUE = """
person first_name company city country landmark address street room product dish ingredient book
movie song artist team sport animal plant subject phrase sentence title tag username id uuid email
url host path filename folder branch commit version sql code regex glob phone hex_color color
ticker airport isbn ip table column medicine symptom job school chemical timezone date time
datetime month weekday year age amount percent latitude longitude currency language language_code
country_code
"""
COMPOSED: dict[str, Kind] = {
    "few": integers(0, 9),
    "many": integers(-50_000, 9_000_000),
    "low": integers(-20, -10),
    "shares": numbers(0, 1),
    "degrees": numbers(-40, 40),
    "wide": numbers(-3, 20_000),
    "mode": one_of([("dark-mode", ["dark", "night"]), ("light", [])]),
    "loud": flag("and make a noise", "quietly"),
    "tools": vocabulary(["hammer", "saw"]),
    "fruit": vocabulary([f"fruit {letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]),
    **{f"list of {name}": list_of(kind) for name, kind in KINDS.items()},
    "list of many": list_of(integers(-50_000, 9_000_000)),
    "list of wide": list_of(numbers(-3, 20_000)),
}
EVERY: Mapping[str, Kind] = {**KINDS, **COMPOSED}


def draws(kind: Kind, count: int, *, held: bool = False, seed: int = 7) -> list[Said]:
    random = Random(seed)
    return [kind.draw(random, held=held) for _ in range(count)]


def test_the_catalogue_is_complete() -> None:
    assert set(KINDS) == set(CATALOGUE.split())


@pytest.mark.parametrize("name", EVERY)
def test_the_same_seed_gives_the_same_values(name: str) -> None:
    kind = EVERY[name]
    for held in (False, True):
        assert draws(kind, 30, held=held) == draws(kind, 30, held=held)
    assert kind.schema(Random(3)) == kind.schema(Random(3))


@pytest.mark.parametrize("name", EVERY)
def test_every_schema_admits_every_value(name: str) -> None:
    kind, random = EVERY[name], Random(11)
    schemas = {str(schema): schema for schema in (kind.schema(random) for _ in range(60))}
    values = [said.value for held in (False, True) for said in draws(kind, 150, held=held)]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
        check = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        for value in values:
            check.validate(value)


@pytest.mark.parametrize("name", EVERY)
def test_words_stand_on_one_line_and_leave_the_marks_of_frames_alone(name: str) -> None:
    for held in (False, True):
        for said in draws(EVERY[name], 200, held=held):
            assert said.words
            assert said.words == said.words.strip()
            assert said.words.isprintable()
            if name.removeprefix("list of ") not in PROGRAMS:
                assert not set("|{}[]") & set(said.words)
            if name in KINDS:
                assert len(said.words.split()) <= 14


@pytest.mark.parametrize("name", sorted(KINDS.keys() - TURNED))
def test_strings_are_said_as_they_are(name: str) -> None:
    for held in (False, True):
        for value, words in ((s.value, s.words) for s in draws(KINDS[name], 200, held=held)):
            assert words in (value, f'"{value}"', f"'{value}'")
            assert words == value or words[0] not in value


def test_a_list_has_one_to_four_items_and_says_each() -> None:
    sizes = [len(said.value) for said in draws(list_of(KINDS["city"]), 500)]
    assert set(sizes) == {1, 2, 3, 4}
    assert sum(size in (2, 3) for size in sizes) > 350
    for said in draws(list_of(KINDS["animal"]), 200):
        assert re.split(", and | and |, ", said.words) == said.value
        assert len(set(said.value)) == len(said.value)


def test_numbers_of_a_list_can_be_told_apart() -> None:
    for said in draws(list_of(integers(0, 100_000)), 300):
        words = re.sub("hundred and ", "hundred ", said.words)
        assert [number_said(word) for word in re.split(", and | and |, ", words)] == said.value


def test_an_option_is_said_by_its_value_or_its_synonyms() -> None:
    kind = one_of([("dark-mode", ["dark", "night"]), ("light", [])])
    assert {(said.value, said.words) for said in draws(kind, 200)} == {
        ("dark-mode", "dark-mode"), ("dark-mode", "dark"), ("dark-mode", "night"),
        ("light", "light"),
    }  # fmt: skip


def test_a_flag_without_words_is_not_drawn() -> None:
    assert {said.value for said in draws(flag("loudly", "quietly"), 50)} == {True, False}
    assert {(said.value, said.words) for said in draws(flag("", "quietly"), 50)} == {
        (False, "quietly")
    }


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_vocabulary_is_seen_or_held_out(name: str) -> None:
    known, every = lexicon(name), {entry.partition(" = ")[0] for entry in entries(name)}
    assert set(known.seen) | set(known.held) == every
    assert not set(known.seen) & set(known.held)
    assert len(every) >= BROAD.get(name, 8)
    if len(every) >= 100:
        assert 0.04 < len(known.held) / len(every) < 0.25


def test_the_split_is_the_same_in_every_vocabulary_and_on_every_machine() -> None:
    words = ("fox", "otter", "crane", "cricket", "oak", "Lima", "Japan")
    assert [word for word in words if is_held(word)] == ["crane", "cricket", "Japan"]
    assert "cricket" in lexicon("animals").held
    assert "cricket" in lexicon("sports").held
    assert Vocabulary.of(["a", "b"]) == Vocabulary(("a", "b"), ("a", "b"))


@pytest.mark.parametrize("name", SPLIT)
def test_training_never_meets_a_held_out_value(name: str) -> None:
    seen = {said.value for said in draws(KINDS[name], 1500)}
    held = {said.value for said in draws(KINDS[name], 1500, held=True)}
    assert not seen & held


def test_a_vocabulary_of_a_domain_is_split_too() -> None:
    seen = {said.value for said in draws(COMPOSED["fruit"], 500)}
    held = {said.value for said in draws(COMPOSED["fruit"], 500, held=True)}
    assert len(seen) + len(held) == 26
    assert not seen & held
    assert {said.value for said in draws(COMPOSED["tools"], 50, held=True)} == {"hammer", "saw"}


@pytest.mark.parametrize(
    "name", ["sentence_frames", "title_frames", "phrase_frames", "work_frames"]
)
def test_every_frame_has_a_word_that_can_be_held_out(name: str) -> None:
    for line in lines(name):
        assert set(re.findall(r"<(\w+)>", line)) - {"n"}, line


@pytest.mark.parametrize("name", FRAMES)
def test_every_slot_is_a_vocabulary(name: str) -> None:
    for line in lines(name):
        for slot in re.findall(r"<(\w+)>", line):
            assert slot in ("n", "coin") or slot in VOCABULARIES, line


def test_made_up_words_are_fresh_and_split_as_known_ones_are() -> None:
    random = Random(5)
    for held in (False, True):
        words = [coined(random, held=held) for _ in range(500)]
        assert len(set(words)) > 470
        assert all(is_held(word) == held for word in words)


@cache
def known_words() -> frozenset[str]:
    texts = (line for name in WORDS for line in lines(name))
    return frozenset(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))


@pytest.mark.parametrize("name", MADE_UP)
def test_much_of_what_is_said_is_known_to_nobody(name: str) -> None:
    texts = [said.value.lower() for said in draws(KINDS[name], 1000)]
    fresh = sum(bool(set(re.findall(r"[a-z]+", text)) - known_words()) for text in texts)
    assert 0.2 < fresh / len(texts) < 0.95


UNITS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NAMES = {word: number for number, word in enumerate(UNITS.split())} | {
    word: 10 * number for number, word in enumerate(TENS.split(), start=2)
}
ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12,
    "twentieth": 20, "thirtieth": 30,
}  # fmt: skip
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def cardinal_said(text: str) -> int:
    total = part = 0
    for word in text.replace("-", " ").split():
        if word == "hundred":
            part *= 100
        elif word == "thousand":
            total, part = total + part * 1000, 0
        elif word != "and":
            part += NAMES[word]
    return total + part


def number_said(text: str) -> float:
    """A number, from digits or words."""
    text, negative = re.subn("^(-|minus |negative )", "", text)
    sign = -1 if negative else 1
    text = text.replace(",", "")
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)(k| million)?", text):
        unit = {"k": 1000, " million": 1_000_000}.get(match[2], 1)
        return sign * round(float(match[1]) * unit, 5)
    if text.endswith(" and a half"):
        return sign * (cardinal_said(text.removesuffix(" and a half")) + 0.5)
    whole, _, fraction = text.partition(" point ")
    tail = "".join(str(NAMES[digit]) for digit in fraction.split())
    return sign * float(f"{cardinal_said(whole)}.{tail or 0}")


def amount_said(text: str) -> float:
    if match := re.fullmatch(r"([\d,]+) dollars and (\d+) cents", text):
        return round(number_said(match[1]) + int(match[2]) / 100, 2)
    return number_said(re.sub("[$€£¥]| (dollars?|euros?|pounds|bucks)$", "", text))


def day_said(text: str) -> str:
    """A date in ISO form."""
    if match := re.fullmatch(r"(\d+)[/.](\d\d)[/.](\d{4})", text):
        assert int(match[1]) > 12
        return f"{match[3]}-{match[2]}-{match[1]}"
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return text
    day = month = year = 0
    for word in re.findall(r"[a-z]+(?:-[a-z]+)?|\d+", text.lower()):
        if word.isdigit():
            day, year = (day, int(word)) if len(word) == 4 else (int(word), year)
        elif word[:3] in MONTHS:
            month = MONTHS.index(word[:3]) + 1
        elif word not in ("the", "of", "st", "nd", "rd", "th") and not word.endswith("day"):
            tens, _, unit = word.rpartition("-")
            day = NAMES.get(tens, 0) + (ORDINALS.get(unit) or NAMES[unit.removesuffix("th")])
    return f"{year}-{month:02d}-{day:02d}"


def clock_said(text: str) -> str:
    """A time as HH:MM."""
    if text in ("noon", "midnight"):
        return "12:00" if text == "noon" else "00:00"
    if re.fullmatch(r"\d\d:\d\d", text):
        return text
    if match := re.fullmatch(r"(\d+)(?::(\d\d))? ?([ap])\.?m\.?", text.lower()):
        hour = int(match[1]) % 12 + 12 * (match[3] == "p")
        return f"{hour:02d}:{match[2] or '00'}"
    face, _, part = re.fullmatch(r"(.*) (in the|at) (\w+)", text).groups()  # type: ignore[union-attr]
    face = face.removesuffix(" o'clock").removeprefix("a ").replace("oh ", "")
    if match := re.fullmatch(r"(\S+) (past|to) (\S+)", face):
        minutes = {"quarter": 15, "half": 30}.get(match[1]) or cardinal_said(match[1])
        total = 60 * NAMES[match[3]] + (minutes if match[2] == "past" else -minutes)
    else:
        hour_said, _, rest = face.partition(" ")
        total = 60 * NAMES[hour_said] + (cardinal_said(rest) if rest else 0)
    first = {"morning": 0, "afternoon": 12, "evening": 17, "night": 20}[part]
    total %= 720
    return next(f"{t // 60:02d}:{t % 60:02d}" for t in (total, total + 720) if t >= 60 * first)


def moment_said(text: str) -> str:
    if re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:00)?", text):
        return f"{text[:10]}T{text[11:16]}:00"
    # "at night" holds an "at" of its own
    first, mark, second = re.fullmatch(r"(.*?) (at|on) (?!night)(.*)", text).groups()  # type: ignore[union-attr]
    on, at = (first, second) if mark == "at" else (second, first)
    return f"{day_said(on)}T{clock_said(at)}:00"


@pytest.mark.parametrize("name", ["few", "many", "low", "shares", "degrees", "wide"])
def test_numbers_read_back(name: str) -> None:
    for said in draws(COMPOSED[name], 3000):
        assert number_said(said.words) == said.value, said
    digits = [said for said in draws(integers(0, 100), 1000) if said.words.isdigit()]
    assert 800 < len(digits) < 900


def read_back(name: str, words: str) -> Any:
    if name in ("age", "year", "latitude", "longitude"):
        return number_said(words)
    if name == "percent":
        return number_said(re.sub(" ?%| per ?cent", "", words))
    return {"amount": amount_said, "date": day_said, "time": clock_said, "datetime": moment_said}[
        name
    ](words)


@pytest.mark.parametrize(
    "name",
    ["age", "year", "latitude", "longitude", "percent", "amount", "date", "time", "datetime"],
)
def test_what_is_measured_reads_back(name: str) -> None:
    for said in draws(KINDS[name], 4000):
        assert read_back(name, said.words) == said.value, said


@pytest.mark.parametrize("name", ["latitude", "longitude"])
def test_an_angle_has_two_to_five_decimals(name: str) -> None:
    for said in draws(KINDS[name], 1000):
        assert re.fullmatch(r"-?\d+\.\d{2,5}", said.words)


@pytest.mark.parametrize("name", ["month", "weekday"])
def test_a_month_or_a_day_is_said_by_its_name(name: str) -> None:
    said = draws(KINDS[name], 500)
    assert len({one.value for one in said}) == {"month": 12, "weekday": 7}[name]
    assert all(one.value.lower().startswith(one.words.lower()) for one in said)


def test_codes_are_those_of_the_names() -> None:
    known = {
        ("country_code", "Germany"): "DE", ("country_code", "Japan"): "JP",
        ("language_code", "French"): "fr", ("language_code", "Korean"): "ko",
        ("currency", "euros"): "EUR", ("currency", "Swiss francs"): "CHF",
    }  # fmt: skip
    for (name, words), value in known.items():
        assert {said.value for said in draws(KINDS[name], 5000) if said.words == words} == {value}
    for name in ("country_code", "language_code", "currency"):
        assert all(len(said.value) == 3 - (name != "currency") for said in draws(KINDS[name], 500))


@pytest.mark.parametrize("name", ["countries", "languages"])
def test_no_two_names_share_a_code(name: str) -> None:
    codes = [entry.partition(" = ")[2] for entry in entries(name)]
    assert len(set(codes)) == len(codes)
