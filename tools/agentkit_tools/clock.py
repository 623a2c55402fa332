"""A clock and a calendar: the time in a city, and the days between two dates.

Knows time zones by the IANA database, and that people name cities, not zones: "Tokyo" and
"new york" are enough. It must not keep any state.
"""

import difflib
from datetime import date, datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from agentkit import Plugin, Toolset, tool

# Large cities that are no zone of their own.
_CITIES = {
    "abu dhabi": "Asia/Dubai",
    "barcelona": "Europe/Madrid",
    "beijing": "Asia/Shanghai",
    "boston": "America/New_York",
    "cape town": "Africa/Johannesburg",
    "delhi": "Asia/Kolkata",
    "frankfurt": "Europe/Berlin",
    "geneva": "Europe/Zurich",
    "houston": "America/Chicago",
    "kyoto": "Asia/Tokyo",
    "miami": "America/New_York",
    "milan": "Europe/Rome",
    "montreal": "America/Toronto",
    "mumbai": "Asia/Kolkata",
    "munich": "Europe/Berlin",
    "new delhi": "Asia/Kolkata",
    "osaka": "Asia/Tokyo",
    "rio de janeiro": "America/Sao_Paulo",
    "san francisco": "America/Los_Angeles",
    "seattle": "America/Los_Angeles",
    "washington": "America/New_York",
}


@cache
def _zones() -> dict[str, str]:
    """Every spelling that is understood, in lower case, with the zone it names."""
    zones = dict(_CITIES)
    # A city that two zones end in (Asia/Singapore, Singapore) goes to the longer, proper name.
    for zone in sorted(available_timezones(), key=lambda name: (len(name), name)):
        zones[zone.rpartition("/")[2].replace("_", " ").lower()] = zone
    zones.update({zone.replace("_", " ").lower(): zone for zone in available_timezones()})
    return zones


def find_zone(name: str) -> ZoneInfo:
    """The time zone that a city or an IANA zone name stands for, in any case.

    Raises:
        ValueError: no zone is called so; the message offers what comes close.
    """
    zones = _zones()
    spelling = " ".join(name.replace("_", " ").lower().split())
    if spelling not in zones:
        close = difflib.get_close_matches(spelling, zones, n=1, cutoff=0.8)
        mend = f"did you mean {zones[close[0]]}?" if close else "name a city such as Tokyo"
        raise ValueError(f"unknown time zone {name!r}: {mend}")
    return ZoneInfo(zones[spelling])


@tool
def current_time(timezone: str = "UTC") -> str:
    """Tell the current date and time.

    Args:
        timezone: A city or time zone.
    """
    zone = find_zone(timezone)
    return f"{datetime.now(zone):%A %Y-%m-%d %H:%M} {zone.key}"


@tool
def days_between(start: date, end: date) -> str:
    """Count the days from one date to another.

    Args:
        start: The first date.
        end: The second date.
    """
    days = (end - start).days
    return f"{days} {'day' if abs(days) == 1 else 'days'}"


toolset = Toolset("clock", [current_time, days_between])
plugin = Plugin(
    "clock",
    description="Tells the time anywhere, and the days between dates.",
    open=lambda: toolset,
    permissions=("reads the clock of this machine",),
)
