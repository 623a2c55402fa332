"""The calendar: times between zones, with the hours clocks skip or repeat, and dates from dates."""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Agent, Retry
from agentkit.testing import ScriptedBackend, answer, call
from agentkit_tools.calendar import (
    add_to_date,
    convert_time,
    count_working_days,
    date_info,
    find_weekday,
    toolset,
)

DATES = st.dates(date(1900, 1, 1), date(2200, 1, 1))
UNITS: list[Any] = ["days", "weeks", "months", "years", "working days"]


def day(text: str) -> date:
    return date.fromisoformat(text)


async def test_it_is_asked_in_json() -> None:
    turn = [
        call("convert_time", day="2026-03-01", time="15:30", from_timezone="Tokyo",
             to_timezone="New York"),
        call("add_to_date", start="2026-03-01", amount=2, unit="weeks"),
        call("find_weekday", weekday="Friday", start="2026-03-01"),
        call("convert_time", day="2026-03-01", time="25:00", from_timezone="UTC",
             to_timezone="UTC"),
        call("add_to_date", start="2026-02-30", amount=2, unit="weeks"),
    ]  # fmt: skip
    backend = ScriptedBackend([turn, answer("done")])
    result = await Agent(tools=[toolset], backend=backend).run("go")
    told = [one.content for one in result.results]
    assert told[:3] == [
        "Sunday 2026-03-01 15:30 Asia/Tokyo (UTC+09:00) is "
        "Sunday 2026-03-01 01:30 America/New_York (UTC-05:00)",
        "Sunday 2026-03-15",
        "Friday 2026-03-06",
    ]
    assert [one.is_error for one in result.results] == [False, False, False, True, True]
    assert "/time" in told[3]
    assert "/start" in told[4]


@pytest.mark.parametrize(
    ("when", "zones", "there"),
    [
        ("2026-07-01 12:00", ("London", "Kathmandu"), "Wednesday 2026-07-01 16:45 Asia/Kathmandu"),
        ("2026-01-01 00:30", ("Auckland", "Honolulu"), "Wednesday 2025-12-31 01:30"),
        (
            "2026-06-30 23:00",
            ("Pacific/Kiritimati", "Pacific/Pago_Pago"),
            "Monday 2026-06-29 22:00",
        ),
        ("2026-03-01 12:00", ("UTC", "utc"), "Sunday 2026-03-01 12:00 UTC (UTC+00:00)"),
        ("1800-01-01 12:00", ("Paris", "UTC"), "Wednesday 1800-01-01 11:50"),
    ],
)
def test_times_are_converted(when: str, zones: tuple[str, str], there: str) -> None:
    told = convert_time(day(when[:10]), when[11:], *zones)
    assert there in told.split(" is ")[1]


def test_a_time_that_clocks_skipped_is_told() -> None:
    told = convert_time(day("2026-03-29"), "02:30", "Berlin", "UTC")
    assert told == (
        "Sunday 2026-03-29 03:30 Europe/Berlin (UTC+02:00) is Sunday 2026-03-29 01:30 UTC "
        "(UTC+00:00). Clocks in Europe/Berlin skipped 02:30 that day."
    )
    assert "skipped" not in convert_time(day("2026-03-29"), "03:00", "Berlin", "UTC")
    assert "skipped" not in convert_time(day("2026-03-29"), "01:59", "Berlin", "UTC")


def test_a_time_that_clocks_showed_twice_is_told_twice() -> None:
    told = convert_time(day("2026-10-25"), "02:30", "Berlin", "UTC")
    assert told == (
        "Sunday 2026-10-25 02:30 Europe/Berlin (UTC+02:00) is Sunday 2026-10-25 00:30 UTC "
        "(UTC+00:00). Clocks in Europe/Berlin showed 02:30 twice that day; later Sunday 2026-10-25 "
        "02:30 Europe/Berlin (UTC+01:00) is Sunday 2026-10-25 01:30 UTC (UTC+00:00)."
    )
    assert "twice" not in convert_time(day("2026-10-25"), "03:00", "Berlin", "UTC")


def test_half_an_hour_may_be_skipped_too() -> None:
    assert "skipped 02:15" in convert_time(day("2026-10-04"), "02:15", "Australia/Lord_Howe", "UTC")
    assert "skipped" not in convert_time(day("2026-10-04"), "02:30", "Australia/Lord_Howe", "UTC")


def test_a_day_that_a_country_left_out_is_told() -> None:
    assert "skipped 12:00 that day" in convert_time(day("2011-12-30"), "12:00", "Apia", "UTC")


@pytest.mark.parametrize(("zones", "value"), [(("Tokio", "UTC"), "from_timezone"),
                                              (("UTC", "Narnia"), "to_timezone")])  # fmt: skip
def test_an_unknown_zone_is_to_be_filled_in_again(zones: tuple[str, str], value: str) -> None:
    with pytest.raises(Retry, match="unknown time zone") as told:
        convert_time(day("2026-03-01"), "12:00", *zones)
    assert told.value.value == value


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31"])
def test_the_ends_of_the_calendar_are_told(text: str) -> None:
    zones = ("Tokyo", "Los Angeles") if text < "1" else ("Los Angeles", "Tokyo")
    with pytest.raises(Retry, match="years 1 to 9999"):
        convert_time(day(text), "00:30" if text < "1" else "23:30", *zones)
    with pytest.raises(Retry, match="years 1 to 9999"):
        add_to_date(day(text), -100_000 if text < "1" else 100_000, "years")
    with pytest.raises(Retry, match="years 1 to 9999"):
        add_to_date(day(text), -5 if text < "1" else 5, "working days")
    with pytest.raises(Retry, match="years 1 to 9999"):
        find_weekday("Sunday", day(text), "last" if text < "1" else "next")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2026-01-01", "Thursday 2026-01-01: day 1 of the year, ISO week 1 of 2026, quarter 1, 31"),
        ("2027-01-01", "ISO week 53 of 2026"),
        ("2024-12-31", "day 366 of the year, ISO week 1 of 2025, quarter 4"),
        ("2024-02-10", "29 days in the month, a leap year"),
        ("1900-02-10", "28 days in the month, no leap year"),
    ],
)
def test_a_date_is_told_with_its_weekday_and_week(text: str, told: str) -> None:
    assert told in date_info(day(text))


@pytest.mark.parametrize(
    ("start", "amount", "unit", "end"),
    [
        ("2026-01-31", 1, "months", "Saturday 2026-02-28"),
        ("2024-02-29", 1, "years", "Friday 2025-02-28"),
        ("2024-02-29", -4, "years", "Saturday 2020-02-29"),
        ("2026-01-15", -1, "months", "Monday 2025-12-15"),
        ("2026-03-06", 1, "working days", "Monday 2026-03-09"),
        ("2026-03-08", -1, "working days", "Friday 2026-03-06"),
        ("2026-03-07", 0, "working days", "Saturday 2026-03-07"),
        ("2026-03-02", 10, "working days", "Monday 2026-03-16"),
        ("2026-03-02", 90, "days", "Sunday 2026-05-31"),
    ],
)
def test_dates_are_counted_on(start: str, amount: int, unit: Any, end: str) -> None:
    assert add_to_date(day(start), amount, unit) == end


def test_holidays_are_no_working_days() -> None:
    easter = [day("2026-04-03"), day("2026-04-06"), day("2026-04-05")]
    assert add_to_date(day("2026-04-02"), 1, "working days", easter) == "Tuesday 2026-04-07"
    week = (day("2026-03-30"), day("2026-04-06"))
    assert count_working_days(*week) == "6 working days"
    assert count_working_days(*week, [*easter, easter[0]]) == "4 working days"


@given(DATES, st.integers(-3000, 3000), st.sampled_from(UNITS[:2]))
def test_days_and_weeks_go_back_as_they_came(start: date, amount: int, unit: Any) -> None:
    there = day(add_to_date(start, amount, unit).split()[1])
    assert day(add_to_date(there, -amount, unit).split()[1]) == start


@given(DATES, st.integers(-500, 500))
def test_months_keep_the_day_where_there_is_one(start: date, amount: int) -> None:
    there = day(add_to_date(start, amount, "months").split()[1])
    assert (there.year - start.year) * 12 + there.month - start.month == amount
    assert there.day == min(start.day, calendar.monthrange(there.year, there.month)[1])


@given(DATES, st.integers(1, 300), st.sets(DATES, max_size=3))
def test_working_days_that_are_added_are_those_that_are_counted(
    start: date, amount: int, holidays: set[date]
) -> None:
    there = day(add_to_date(start, amount, "working days", list(holidays)).split()[1])
    counted = count_working_days(start + timedelta(days=1), there, list(holidays))
    assert counted.split()[0] == str(amount)


@given(DATES, st.integers(0, 1000))
def test_working_days_are_those_of_a_slow_count(start: date, length: int) -> None:
    end = start + timedelta(days=length)
    slow = sum((start + timedelta(days=one)).weekday() < 5 for one in range(length + 1))
    assert count_working_days(start, end).split()[0] == str(slow)
    assert count_working_days(end, start) == count_working_days(start, end)


@given(DATES, st.integers(0, 6))
def test_a_weekday_is_found_within_a_week_and_never_today(start: date, number: int) -> None:
    name: Any = calendar.day_name[number]
    ahead, back = find_weekday(name, start), find_weekday(name, start, "last")
    assert 1 <= (day(ahead.split()[1]) - start).days <= 7
    assert -7 <= (day(back.split()[1]) - start).days <= -1
    assert {ahead.split()[0], back.split()[0]} == {name}
