"""A calendar: times between zones, dates from dates, weeks, weekdays and working days.

Knows the proleptic Gregorian calendar, ISO weeks and the IANA time zones, with the hours that
clocks skip and repeat. It knows no holidays: they differ by country, and are given where they
matter. It must not keep any state, nor ask what time it is.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from agentkit import Plugin, Retry, Toolset, tool
from agentkit_tools.clock import find_zone

Weekday = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
Unit = Literal["days", "weeks", "months", "years", "working days"]
Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Holidays = Annotated[Sequence[date], Field(max_length=60)]

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SATURDAY = 5
_NO_SUCH_DATE = "that is out of the calendar, which has the years 1 to 9999"
_MOST = 100_000  # of any unit; working days are counted one by one


@tool(pure=True)
def convert_time(day: date, time: Clock, from_timezone: str, to_timezone: str) -> str:
    """Tell what a time in one city is in another.

    Args:
        day: The date.
        time: The time of day, such as 15:30.
        from_timezone: The city or time zone that the time is of.
        to_timezone: The city or time zone to tell it in.
    """
    origin = _zone(from_timezone, "from_timezone")
    target = _zone(to_timezone, "to_timezone")
    # a text, since JSON Schema's own times have an offset, and what it is here is the question
    first = datetime.fromisoformat(f"{day.isoformat()}T{time}").replace(tzinfo=origin)
    second = first.replace(fold=1)
    try:
        told = [f"{_told(one, origin)} is {_told(one, target)}" for one in (first, second)]
    except OverflowError as error:
        raise Retry(_NO_SUCH_DATE, value="day") from error
    if told[0] == told[1]:
        return told[0]
    if _gap(first, second):
        return f"{told[0]}. Clocks in {origin.key} skipped {time} that day."
    return f"{told[0]}. Clocks in {origin.key} showed {time} twice that day; later {told[1]}."


@tool(pure=True)
def date_info(day: date) -> str:
    """Tell the weekday, the week and more of a date.

    Args:
        day: The date.
    """
    year, week, _ = day.isocalendar()
    quarter = (day.month + 2) // 3
    leap = "a leap year" if _is_leap(day.year) else "no leap year"
    return (
        f"{_named(day)}: day {day.timetuple().tm_yday} of the year, ISO week {week} of {year}, "
        f"quarter {quarter}, {_days_of(day.year, day.month)} days in the month, {leap}"
    )


@tool(pure=True)
def add_to_date(
    start: date,
    amount: Annotated[int, Field(ge=-_MOST, le=_MOST)],
    unit: Unit,
    holidays: Holidays = (),
) -> str:
    """Tell the date that is some days, weeks, months, years or working days after another.

    Args:
        start: The date to count from.
        amount: How many; below zero for before.
        unit: What is counted.
        holidays: Days that are no working days, beside weekends.
    """
    try:
        return _named(_moved(start, amount, unit, frozenset(holidays)))
    except (OverflowError, ValueError) as error:
        raise Retry(_NO_SUCH_DATE, value="amount") from error


@tool(pure=True)
def count_working_days(start: date, end: date, holidays: Holidays = ()) -> str:
    """Count the working days from one date to another, both of them included.

    Args:
        start: The first date.
        end: The last date.
        holidays: Days that are no working days, beside weekends.
    """
    first, last = min(start, end), max(start, end)
    weeks, rest = divmod((last - first).days + 1, 7)
    weekdays = [(first.weekday() + step) % 7 for step in range(rest)]
    days = 5 * weeks + sum(weekday < _SATURDAY for weekday in weekdays)
    days -= sum(first <= day <= last and day.weekday() < _SATURDAY for day in set(holidays))
    return f"{days} working {'day' if days == 1 else 'days'}"


@tool(pure=True)
def find_weekday(weekday: Weekday, start: date, direction: Literal["next", "last"] = "next") -> str:
    """Tell the date of the next or the last such weekday, seen from a date.

    Args:
        weekday: The day of the week.
        start: The date to look from; it is never the answer itself.
        direction: Whether the next or the last one is sought.
    """
    step = 1 if direction == "next" else -1
    away = (step * (_WEEKDAYS.index(weekday) - start.weekday()) - 1) % 7 + 1
    try:
        return _named(start + timedelta(days=step * away))
    except OverflowError as error:
        raise Retry(_NO_SUCH_DATE, value="start") from error


def _moved(start: date, amount: int, unit: Unit, holidays: frozenset[date]) -> date:
    if unit == "working days":
        step = timedelta(days=1 if amount > 0 else -1)
        for _ in range(abs(amount)):
            start += step
            while start.weekday() >= _SATURDAY or start in holidays:
                start += step
        return start
    if unit in {"days", "weeks"}:
        return start + timedelta(days=amount * (7 if unit == "weeks" else 1))
    months = start.year * 12 + start.month - 1 + amount * (12 if unit == "years" else 1)
    year, month = months // 12, months % 12 + 1
    # a month after January 31 is the last of February
    return date(year, month, min(start.day, _days_of(year, month)))


def _days_of(year: int, month: int) -> int:
    if month == 2:
        return 29 if _is_leap(year) else 28
    return 30 if month in {4, 6, 9, 11} else 31


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _zone(name: str, argument: str) -> ZoneInfo:
    try:
        return find_zone(name)
    except ValueError as error:
        raise Retry(str(error), value=argument) from error


def _gap(first: datetime, second: datetime) -> bool:
    """Whether clocks skipped a time, of two readings of it that differ; else they repeated it."""
    before, after = first.utcoffset(), second.utcoffset()
    return before is not None and after is not None and before < after


def _named(day: date) -> str:
    return f"{_WEEKDAYS[day.weekday()]} {day.isoformat()}"


def _told(moment: datetime, zone: ZoneInfo) -> str:
    local = moment.astimezone(UTC).astimezone(zone)  # by way of UTC: a skipped time is moved
    offset = local.strftime("%z")
    return f"{_named(local.date())} {local:%H:%M} {zone.key} (UTC{offset[:3]}:{offset[3:5]})"


toolset = Toolset(
    "calendar", [convert_time, date_info, add_to_date, count_working_days, find_weekday]
)
plugin = Plugin(
    "calendar",
    description="Works with dates, weekdays, working days and times between zones.",
    open=lambda: toolset,
    explicit=True,
)
