"""The clock: zones by city or by name, and days between dates."""

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit_tools.clock import current_time, days_between, find_zone, toolset


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("UTC", "UTC"),
        ("utc", "UTC"),
        ("Tokyo", "Asia/Tokyo"),
        ("new york", "America/New_York"),
        ("New_York", "America/New_York"),
        ("  Los   Angeles ", "America/Los_Angeles"),
        ("europe/paris", "Europe/Paris"),
        ("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("Mumbai", "Asia/Kolkata"),
        ("San Francisco", "America/Los_Angeles"),
    ],
)
def test_a_zone_is_found_by_city_or_by_name(name: str, zone: str) -> None:
    assert find_zone(name).key == zone


def test_every_zone_is_found_by_its_own_name() -> None:
    for name in available_timezones():
        assert find_zone(name) == ZoneInfo(name)


@pytest.mark.parametrize(
    ("name", "mend"),
    [("Tokio", "did you mean Asia/Tokyo?"), ("Narnia", "such as Tokyo"), ("", "such as Tokyo")],
)
def test_an_unknown_zone_is_refused_with_a_mend(name: str, mend: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"unknown time zone {name!r}: ")) as info:
        find_zone(name)
    assert mend in str(info.value)


def test_the_current_time_is_told_in_the_zone() -> None:
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    told = current_time(timezone="Kathmandu")
    weekday, day, minute, zone = told.split(" ")
    moment = datetime.fromisoformat(f"{day} {minute}").replace(tzinfo=ZoneInfo("Asia/Kathmandu"))
    assert zone == "Asia/Kathmandu"
    assert weekday == f"{moment:%A}"
    assert before <= moment <= datetime.now(UTC)


def test_the_zone_defaults_to_utc() -> None:
    assert current_time().endswith(" UTC")


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        (date(2026, 3, 1), date(2026, 4, 1), "31 days"),
        (date(2028, 2, 28), date(2028, 2, 29), "1 day"),
        (date(2026, 3, 1), date(2026, 3, 1), "0 days"),
        (date(2026, 3, 6), date(2026, 3, 1), "-5 days"),
    ],
)
def test_days_between_two_dates(start: date, end: date, told: str) -> None:
    assert days_between(start=start, end=end) == told


@given(st.dates(max_value=date(5000, 1, 1)), st.integers(2, 10_000))
def test_days_between_undoes_adding_days(start: date, days: int) -> None:
    assert days_between(start=start, end=start + timedelta(days=days)) == f"{days} days"


def test_the_plugin_offers_both_tools() -> None:
    assert [tool.name for tool in toolset.tools] == ["current_time", "days_between"]
    assert days_between.parameters["properties"]["start"]["format"] == "date"
    assert "required" not in current_time.parameters
