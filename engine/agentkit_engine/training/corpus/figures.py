"""Numbers, dates, times and codes: values drawn as people would name them, with their words.

Knows which values are likely. Must not know schemas; how a given value is said is in `spoken`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from math import ceil, floor
from random import Random

from agentkit_engine.training.corpus import spoken
from agentkit_engine.training.corpus.lexicon import codes

_FIRST_DAY = date(2019, 1, 1)
_DAYS = (date(2032, 12, 31) - _FIRST_DAY).days
_NEAR = 40  # what is said in full is mostly this near to nought, or to the end of the range
_TINY = 1e-3  # no smaller fraction is drawn: it would be written with an exponent


def integer(low: int, high: int, random: Random) -> tuple[int, str]:
    """A whole number in the range."""
    value = _whole(random, low, high)
    return value, spoken.integer(random, value)


def number(low: float, high: float, random: Random) -> tuple[float, str]:
    """A number in the range, whole for one in three."""
    value = _decimal(random, low, high)
    return value, spoken.number(random, value)


def _whole(random: Random, low: int, high: int) -> int:
    """People name small numbers and round ones more often than chance would."""
    span = high - low
    draw = random.random()
    if span <= 60 or draw < 0.25:
        return random.randint(low, high)
    if draw < 0.6:
        near = 0 if low <= 0 <= high else low if low > 0 else high
        return random.randint(max(near - _NEAR, low), min(near + _NEAR, high))
    step = 10 ** random.randint(1, len(str(span)) - 1) // random.choice((1, 2))
    first, last = -(-low // step), high // step
    return step * random.randint(first, last) if first <= last else random.randint(low, high)


def _decimal(random: Random, low: float, high: float) -> float:
    wide = high - low >= 3
    if wide and random.random() < 0.35:
        return _whole(random, ceil(low), floor(high))
    first, last = low, high
    if high - low > 1000 and low < 50 and high > -50 and random.random() < 0.5:
        first, last = max(low, -50), min(high, 50)
    value = round(random.uniform(first, last), random.choice((1, 1, 2) if wide else (1, 2, 2, 3)))
    if wide and random.random() < 0.2:
        value = floor(value) + 0.5
    value = min(max(value, low), high)
    if abs(value) < _TINY and low <= 0 <= high:
        return 0
    return int(value) if value == int(value) else value


def day(random: Random) -> tuple[str, str]:
    """A date, in ISO form."""
    value = _date(random)
    return value.isoformat(), spoken.day(random, value)


def time(random: Random) -> tuple[str, str]:
    """A time of day, as HH:MM on a clock of 24 hours."""
    hour, minute = _minute(random)
    return f"{hour:02d}:{minute:02d}", spoken.clock(random, hour, minute)


def moment(random: Random) -> tuple[str, str]:
    """A date with its time, in ISO form to the second."""
    value, (hour, minute) = _date(random), _minute(random)
    iso = f"{value.isoformat()}T{hour:02d}:{minute:02d}:00"
    draw = random.random()
    if draw < 0.1:
        return iso, iso
    if draw < 0.2:
        return iso, f"{value.isoformat()} {hour:02d}:{minute:02d}"
    on, at = spoken.day(random, value), spoken.clock(random, hour, minute)
    return iso, f"{on} at {at}" if draw < 0.8 else f"{at} on {on}"


def _date(random: Random) -> date:
    return _FIRST_DAY + timedelta(days=random.randint(0, _DAYS))


def _minute(random: Random) -> tuple[int, int]:
    hour = random.randint(6, 22) if random.random() < 0.8 else random.randint(0, 23)
    draw = random.random()
    if draw < 0.4:
        return hour, 0
    if draw < 0.75:
        return hour, random.choice((15, 30, 45))
    return hour, random.randrange(0, 60, 5) if draw < 0.9 else random.randrange(60)


def amount(random: Random) -> tuple[float, str]:
    """A sum of money, with cents for two in five."""
    top = random.choice((20, 100, 100, 1000, 1000, 10_000, 100_000))
    draw = random.random()
    if draw < 0.3:
        value: float = random.randint(1, top)
    elif draw < 0.6:
        value = random.randint(1, 20) * (top // 20)
    else:
        cents = random.choice((50, 99, 25, 75, 95, random.randint(1, 99)))
        value = round(random.randint(1, min(top, 2000)) + cents / 100, 2)
    return value, spoken.amount(random, value)


def percent(random: Random) -> tuple[float, str]:
    """A share of 0 to 100."""
    draw = random.random()
    if draw < 0.5:
        value: float = random.randint(1, 20) * 5
    elif draw < 0.8:
        value = random.randint(0, 100)
    else:
        parts = (0.5, 0.25, 0.75, random.randint(1, 9) / 10)
        value = round(random.randint(0, 99) + random.choice(parts), 2)
    return value, spoken.percent(random, value)


def angle(bound: int, random: Random) -> tuple[float, str]:
    """Degrees of latitude or longitude, with two to five decimals."""
    places = random.randint(2, 5)
    size = 10**places
    whole, part = random.randint(0, bound - 1), random.randrange(size // 10, size)
    # a last digit of nought would be lost in JSON, and then there might be one decimal only
    value = round(whole + (part if part % 10 else part + 1) / size, places)
    value = -value if random.random() < 0.5 else value
    return value, spoken.digits(value)


def year(random: Random) -> tuple[int, str]:
    """A year, mostly a recent one."""
    value = random.randint(1990, 2035) if random.random() < 0.8 else random.randint(1800, 2035)
    return value, str(value)


def age(random: Random) -> tuple[int, str]:
    """Years of a life."""
    value = random.randint(1, 99)
    return value, spoken.integer(random, value)


def code(name: str, verbatim: float, random: Random) -> tuple[str, str]:
    """A code of the named list, said by its name, or as it is with chance `verbatim`."""
    said, value = random.choice(_pairs(name))
    return value, value if random.random() < verbatim else said


@cache
def _pairs(name: str) -> tuple[tuple[str, str], ...]:
    return tuple(codes(name).items())


def short(names: Sequence[str], random: Random) -> tuple[str, str]:
    """The name of a month or a day, sometimes said by its first three letters."""
    name = random.choice(names)
    draw = random.random()
    if draw < 0.75:
        return name, name
    return name, name[:3] if draw < 0.93 else name.lower()
