"""Where the sun is, worked out. Knows dates and coordinates; must not know tools.

The sunrise equation: good to two minutes or so away from the poles, between 1900 and 2100.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import acos, asin, cos, degrees, radians, sin

HORIZON = -0.833
"""Degrees above the horizon that the sun's centre has as its upper edge appears in the haze."""
_TILT = 23.4397  # degrees, of the Earth's axis
_EPOCH = datetime(2000, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Daylight:
    """A day's light. rise, set: None where the sun stays up or down; noon: when it is highest."""

    rise: datetime | None
    noon: datetime
    set: datetime | None
    hours: float


def daylight(
    day: date, latitude: float, longitude: float, *, altitude: float = HORIZON
) -> Daylight:
    """The times, in UTC, at which the sun passes `altitude` degrees on a day at a place."""
    days = (day - _EPOCH.date()).days - longitude / 360
    mean = radians(357.5291 + 0.98560028 * days)
    centre = 1.9148 * sin(mean) + 0.02 * sin(2 * mean) + 0.0003 * sin(3 * mean)
    ecliptic = mean + radians(centre + 180 + 102.9372)
    noon = _EPOCH + timedelta(days=days + 0.0053 * sin(mean) - 0.0069 * sin(2 * ecliptic))
    declination = asin(sin(ecliptic) * sin(radians(_TILT)))
    across = radians(latitude)
    share = (sin(radians(altitude)) - sin(across) * sin(declination)) / (
        cos(across) * cos(declination)
    )
    if abs(share) > 1:
        return Daylight(None, noon, None, 24.0 if share < 0 else 0.0)
    half = timedelta(days=degrees(acos(share)) / 360)
    return Daylight(noon - half, noon, noon + half, 2 * half.total_seconds() / 3600)
