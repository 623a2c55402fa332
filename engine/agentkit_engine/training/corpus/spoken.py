"""Numbers, money, dates and times, as people say them.

Knows English for a value that is given. Must not know schemas, or where values come from.
"""

from __future__ import annotations

from datetime import date
from random import Random

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_SHORT_MONTHS = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sept", "Oct", "Nov", "Dec",
)  # fmt: skip
_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
_HALF = 30
_QUARTERS = {15: "quarter past", 30: "half past", 45: "quarter to"}


def cardinal(value: int) -> str:
    """A whole number from 0 to 999,999 in words: 'one hundred twenty', 'three thousand'."""
    if value < 20:
        return _UNITS[value]
    if value < 100:
        tens, unit = divmod(value, 10)
        return _TENS[tens] + (f"-{_UNITS[unit]}" if unit else "")
    size, name = (1000, "thousand") if value >= 1000 else (100, "hundred")
    count, rest = divmod(value, size)
    return f"{cardinal(count)} {name}" + (f" {cardinal(rest)}" if rest else "")


def ordinal(value: int) -> str:
    """A day of the month in words: 'third', 'twenty-first'."""
    head, dash, last = cardinal(value).rpartition("-")
    last = _ORDINALS.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th")
    return head + dash + last


def digits(value: float) -> str:
    """A number in digits, as JSON writes it: never with an exponent for what kinds draw."""
    return str(int(value)) if value == int(value) else repr(value)


def integer(random: Random, value: int) -> str:
    """A whole number as said: '12', 'twelve', '1,500', '3k', '-5', 'minus five'."""
    size = abs(value)
    if random.random() < 0.85 or not _sayable(size):
        return _in_digits(random, value)
    said = cardinal(size)
    if random.random() < 0.5:
        said = said.replace("hundred ", "hundred and ")
    if value >= 0:
        return said
    return f"{'minus' if random.random() < 0.7 else 'negative'} {said}"


def number(random: Random, value: float) -> str:
    """A number as said: '2.5', 'two and a half', 'three point one', '-0.05'."""
    if value == int(value):
        return integer(random, int(value))
    whole, _, fraction = digits(abs(value)).partition(".")
    if random.random() < 0.85 or int(whole) > 20 or len(fraction) > 2:
        grouped = abs(value) >= 1000 and random.random() < 0.3
        return f"{value:,}" if grouped else digits(value)
    sign = "minus " if value < 0 else ""
    if fraction == "5" and whole != "0" and random.random() < 0.7:
        return f"{sign}{cardinal(int(whole))} and a half"
    return f"{sign}{cardinal(int(whole))} point {' '.join(_UNITS[int(d)] for d in fraction)}"


def percent(random: Random, value: float) -> str:
    """A share as said: '20%', '20 percent', 'twenty percent', 'two and a half percent'."""
    draw = random.random()
    if draw < 0.55:
        return f"{digits(value)}%"
    if draw < 0.6:
        return f"{digits(value)} %"
    said = digits(value) if draw < 0.85 else number(random, value)
    return f"{said} {'per cent' if random.random() < 0.1 else 'percent'}"


def amount(random: Random, value: float) -> str:
    """Money as said: '$45.50', '45 dollars and 50 cents', '1,200', '€30', 'forty dollars'."""
    whole, cents = divmod(round(value * 100), 100)
    grouped = f"{whole:,}" if random.random() < 0.6 else str(whole)
    tail = f".{cents:02d}" if cents else ""
    draw = random.random()
    if draw < 0.3:
        return f"${grouped}{tail}"
    if draw < 0.55:
        return grouped + (tail if random.random() < 0.7 else tail.rstrip("0"))
    if draw < 0.65:
        return f"{random.choice('€£¥' if not cents else '€£')}{grouped}{tail}"
    if draw < 0.75 and cents > 1 and whole > 1:
        return f"{grouped} dollars and {cents} cents"
    if value == 1:
        return random.choice(("$1", "1 dollar", "one dollar", "1 euro"))
    if draw < 0.9 or cents or not _sayable(whole):
        unit = random.choice(("dollars", "dollars", "dollars", "euros", "pounds", "bucks"))
        return f"{grouped}{tail} {unit}"
    return f"{cardinal(whole)} {random.choice(('dollars', 'dollars', 'euros', 'pounds'))}"


def day(random: Random, value: date) -> str:
    """A date as said, the year always in it: '21 November 2026', 'Nov 21st, 2026'."""
    number, year, place = value.day, value.year, value.month - 1
    month = MONTHS[place] if random.random() < 0.7 else _SHORT_MONTHS[place]
    nth = f"{number}{_suffix(number)}"
    draw = random.random()
    if draw < 0.2:
        return value.isoformat()
    if draw < 0.3 and number > 12:
        mark = random.choice("//.")
        return f"{number}{mark}{value.month:02d}{mark}{year}"
    if draw < 0.5:
        return f"{month} {random.choice((number, nth))}, {year}"
    if draw < 0.6:
        return f"{month} {random.choice((number, nth))} {year}"
    if draw < 0.8:
        return f"{random.choice((number, nth))} {month} {year}"
    if draw < 0.92:
        return f"the {nth if random.random() < 0.8 else ordinal(number)} of {month} {year}"
    weekday = WEEKDAYS[value.weekday()]
    return (
        f"{weekday}, {number} {month} {year}" if draw < 0.96 else f"{weekday} {nth} {month} {year}"
    )


def clock(random: Random, hour: int, minute: int) -> str:
    """A time of day as said: '3:30 pm', '15:30', 'half past three in the afternoon', 'noon'."""
    draw = random.random()
    if minute == 0 and hour in (0, 12) and draw < 0.5:
        return "noon" if hour else "midnight"
    if draw < 0.3:
        return f"{hour:02d}:{minute:02d}"
    if draw < 0.75 or hour == 0 or minute % 5:
        return _half_day(random, hour, minute)
    return _told(random, hour, minute)


def _half_day(random: Random, hour: int, minute: int) -> str:
    mark = random.choice(
        (" am", "am", " AM", " a.m.") if hour < 12 else (" pm", "pm", " PM", " p.m.")
    )
    face = (hour - 1) % 12 + 1
    return f"{face}:{minute:02d}{mark}" if minute or random.random() < 0.25 else f"{face}{mark}"


def _told(random: Random, hour: int, minute: int) -> str:
    part = _part(hour)
    face = cardinal((hour - 1) % 12 + 1)
    following = cardinal(hour % 12 + 1)
    draw = random.random()
    if minute == 0:
        return f"{face} o'clock {part}" if draw < 0.5 else f"{face} {part}"
    # what is "to" an hour must belong to the same part of the day as that hour
    turns = _part((hour + 1) % 24) != part or hour in (11, 23)
    if minute in _QUARTERS and draw < 0.7 and not (minute > _HALF and turns):
        article = "a " if minute != _HALF and random.random() < 0.3 else ""
        return f"{article}{_QUARTERS[minute]} {following if minute > _HALF else face} {part}"
    if minute < _HALF and draw < 0.4:
        return f"{cardinal(minute)} past {face} {part}"
    if minute > _HALF and draw < 0.4 and not turns:
        return f"{cardinal(60 - minute)} to {following} {part}"
    return f"{face} {'oh ' if minute < 10 else ''}{cardinal(minute)} {part}"


def _part(hour: int) -> str:
    if hour < 12:
        return "in the morning"
    if hour < 18:
        return "in the afternoon"
    return "in the evening" if hour < 22 else "at night"


def _suffix(number: int) -> str:
    if 10 < number < 20:
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _sayable(size: int) -> bool:
    if size <= 120:
        return True
    return size % 100 == 0 and (size < 1000 or (size % 1000 == 0 and size <= 100_000))


def _in_digits(random: Random, value: int) -> str:
    if abs(value) < 1000:
        return str(value)
    draw = random.random()
    if draw < 0.05 and value % 1000 == 0 and 0 < value < 1_000_000:
        return f"{value // 1000}k"
    if draw < 0.6 and value % 100_000 == 0 and value >= 1_000_000:
        return f"{digits(value / 1_000_000)} million"
    return f"{value:,}" if draw < 0.4 else str(value)
