"""The plugin: what it is configured with, what its tool says, and an agent that uses it."""

from datetime import date

import anyio
import pytest
from agentkit import Agent, PluginError, Retry, load_toolsets
from agentkit.testing import ScriptedBackend, answer, call

from agentkit_daylight.plugin import check_daylight, plugin

BERGEN = {"latitude": 60.39, "longitude": 5.32, "zone": "Europe/Oslo"}


@pytest.fixture(autouse=True)
def _unconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTKIT_DAYLIGHT_HOME", raising=False)


def test_an_agent_tells_when_the_sun_sets() -> None:
    [toolset] = load_toolsets([plugin])
    asked = call("sun_times", day="2024-06-21", city="london")
    agent = Agent(tools=[toolset], backend=ScriptedBackend([asked, answer("At 21:21.")]))
    result = agent.run_sync("When does the sun set in London on 21 June 2024?")
    [outcome] = result.results
    assert not outcome.is_error
    assert outcome.content.startswith("In London on 2024-06-21 the sun rises at 04:")
    assert "and sets at 21:" in outcome.content
    assert result.output == "At 21:21."


def test_a_place_that_is_not_known_is_to_be_named_anew() -> None:
    [[sun_times]] = load_toolsets([plugin])
    with pytest.raises(Retry, match="there is no place 'Atlantis'; there are Cape Town") as refusal:
        sun_times(day=date(2024, 6, 21), city="Atlantis")
    assert refusal.value.value == "city"


def test_places_can_be_added_and_one_made_home() -> None:
    config = {"daylight": {"home": "Bergen", "places": {"Bergen": BERGEN}}}
    [[sun_times]] = load_toolsets([plugin], config=config)
    assert sun_times.parameters["properties"]["city"]["default"] == "Bergen"
    said = sun_times(**sun_times.bind({"day": "2024-06-21"}))
    assert said.startswith("In Bergen on 2024-06-21")


def test_a_home_that_is_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_DAYLIGHT_HOME", "Bergen")
    with pytest.raises(PluginError, match="home='Bergen' is no known place; add it to `places`"):
        load_toolsets([plugin])


def test_a_zone_that_is_none_is_refused_with_its_setting() -> None:
    config = {"daylight": {"places": {"Bergen": {**BERGEN, "zone": "Norway"}}}}
    with pytest.raises(
        PluginError, match=r"places\.Bergen\.zone \(from code\): it is no time zone"
    ):
        load_toolsets([plugin], config=config)


def test_the_self_test_passes() -> None:
    [toolset] = load_toolsets([plugin])
    anyio.run(check_daylight, toolset)
