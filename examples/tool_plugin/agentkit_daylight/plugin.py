"""The plugin: its configuration, its tools, its self-test.

Knows places and how to say things to a model; the sun is `agentkit_daylight.sun`'s.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from agentkit import Plugin, Retry, Tool, Toolset, tool
from pydantic import AfterValidator, BaseModel, Field, model_validator

from agentkit_daylight.sun import daylight


def known_zone(name: str) -> str:
    """The name of a time zone, if it is one."""
    if name not in available_timezones():
        raise ValueError("it is no time zone; give one such as 'Europe/Lisbon'")
    return name


class Place(BaseModel):
    """A place on Earth."""

    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    zone: Annotated[str, AfterValidator(known_zone)]


PLACES = {
    "Cape Town": Place(latitude=-33.92, longitude=18.42, zone="Africa/Johannesburg"),
    "Lisbon": Place(latitude=38.72, longitude=-9.14, zone="Europe/Lisbon"),
    "London": Place(latitude=51.51, longitude=-0.13, zone="Europe/London"),
    "New York": Place(latitude=40.71, longitude=-74.01, zone="America/New_York"),
    "Quito": Place(latitude=-0.18, longitude=-78.47, zone="America/Guayaquil"),
    "Sydney": Place(latitude=-33.87, longitude=151.21, zone="Australia/Sydney"),
    "Tokyo": Place(latitude=35.68, longitude=139.69, zone="Asia/Tokyo"),
    "Tromsø": Place(latitude=69.65, longitude=18.96, zone="Europe/Oslo"),
}


class DaylightConfig(BaseModel):
    """What whoever installs the plugin may choose; all of it has a default."""

    home: str = Field("London", description="The place that is meant where none is named.")
    places: dict[str, Place] = Field(
        default={}, description="More places: a name, and its latitude, longitude and zone."
    )

    @model_validator(mode="after")
    def _home_is_known(self) -> DaylightConfig:
        if self.home not in self.all_places:
            raise ValueError(f"home={self.home!r} is no known place; add it to `places`")
        return self

    @property
    def all_places(self) -> dict[str, Place]:
        """Those that come along, and those that were added."""
        return PLACES | self.places


def open_daylight(config: DaylightConfig) -> Toolset:
    """The tools, as they are configured."""
    return Toolset("daylight", [sun_times_of(config)])


def sun_times_of(config: DaylightConfig) -> Tool[..., str]:
    """The tool that knows the places of a configuration."""
    places = {name.casefold(): (name, place) for name, place in config.all_places.items()}

    @tool(pure=True)  # it touches nothing, so it may be tried on a guess
    def sun_times(day: date, city: str = config.home) -> str:
        """Tell when the sun rises and sets.

        Args:
            day: The date.
            city: The city.
        """
        if city.casefold() not in places:
            known = ", ".join(name for name, _ in places.values())
            # Only this value is to blame: a backend that can fills in just it again.
            raise Retry(f"there is no place {city!r}; there are {known}", value="city")
        name, place = places[city.casefold()]
        light = daylight(day, place.latitude, place.longitude)
        if light.rise is None or light.set is None:
            return f"In {name} the sun {'never sets' if light.hours else 'never rises'} on {day}."
        zone = ZoneInfo(place.zone)
        return (
            f"In {name} on {day} the sun rises at {_clock(light.rise, zone)} and sets at "
            f"{_clock(light.set, zone)}: {light.hours:.1f} hours of daylight."
        )

    return sun_times


def _clock(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%H:%M}"


async def check_daylight(toolset: Toolset) -> None:
    """The self-test: on the equator every day is half a day long, and a little more."""
    (sun_times,) = toolset
    said = sun_times(day=date(2026, 3, 20), city="Quito")
    if "12.1 hours" not in said:
        raise AssertionError(f"a day in Quito has 12.1 hours, but: {said}")


plugin = Plugin(
    "daylight",
    description="When the sun rises and sets, worked out and not looked up.",
    config=DaylightConfig,
    open=open_daylight,
    permissions=(),  # it reads no file, reaches no network, and keeps nothing
    check=check_daylight,
)
