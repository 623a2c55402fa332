"""The sun, against almanacs."""

from datetime import UTC, date, datetime, timedelta

import pytest

from agentkit_daylight.sun import daylight

LONDON, SYDNEY, TROMSO = (51.51, -0.13), (-33.87, 151.21), (69.65, 18.96)


@pytest.mark.parametrize(
    ("place", "day", "rise", "set_"),
    [
        (LONDON, date(2024, 6, 21), "2024-06-21T03:43", "2024-06-21T20:21"),
        (LONDON, date(2024, 12, 21), "2024-12-21T08:04", "2024-12-21T15:53"),
        (SYDNEY, date(2024, 12, 21), "2024-12-20T18:41", "2024-12-21T09:05"),
    ],
)
def test_it_rises_and_sets_when_the_almanac_says(
    place: tuple[float, float], day: date, rise: str, set_: str
) -> None:
    light = daylight(day, *place)
    assert light.rise is not None
    assert light.set is not None
    close = timedelta(minutes=3)
    assert abs(light.rise - datetime.fromisoformat(rise).replace(tzinfo=UTC)) < close
    assert abs(light.set - datetime.fromisoformat(set_).replace(tzinfo=UTC)) < close


def test_beyond_the_polar_circle_it_may_stay_up_or_down() -> None:
    summer, winter = daylight(date(2024, 6, 21), *TROMSO), daylight(date(2024, 12, 21), *TROMSO)
    assert (summer.rise, summer.set, summer.hours) == (None, None, 24.0)
    assert (winter.rise, winter.set, winter.hours) == (None, None, 0.0)


def test_days_are_as_long_in_the_south_as_half_a_year_later_in_the_north() -> None:
    north, south = daylight(date(2024, 6, 21), 40, 0), daylight(date(2024, 12, 21), -40, 0)
    assert abs(north.hours - south.hours) < 0.05
