"""OpenAI's own agents, whose model is the real server on loopback."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal

import openai
import pytest
from agents import Agent, ModelSettings, OpenAIResponsesModel, RunConfig, Runner, function_tool
from responding import HELLO, Trip
from serving import Served, serving

from agentkit_engine import Engine

UNTRACED = RunConfig(tracing_disabled=True)  # nothing leaves this machine


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine) as served:
        yield served


def agent_of(server: Served, **options: Any) -> Agent[Any]:
    """An agent of OpenAI's own kind, whose model is ours."""
    client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0)
    model = OpenAIResponsesModel(model="default", openai_client=client)
    return Agent(name="traveller", instructions="be brief", model=model, **options)


def test_an_agent_calls_and_answers_by_its_type(server: Served) -> None:
    called: list[tuple[str, int]] = []

    @function_tool(is_enabled=lambda _context, _agent: not called)
    def weather(city: Literal["Paris", "Berlin"], days: int) -> str:
        """The weather of a city."""
        called.append((city, days))
        return "warm"

    agent = agent_of(
        server,
        tools=[weather],
        output_type=Trip,
        model_settings=ModelSettings(tool_choice="required"),
        reset_tool_choice=True,
    )
    result = Runner.run_sync(agent, HELLO, run_config=UNTRACED)
    [(city, days)] = called
    assert city in ("Paris", "Berlin")
    assert isinstance(days, int)
    assert isinstance(result.final_output, Trip)
    kinds = [item.type for item in result.new_items]
    assert kinds == ["tool_call_item", "tool_call_output_item", "message_output_item"]
    assert result.context_wrapper.usage.requests == 2
    assert result.context_wrapper.usage.output_tokens > 0


async def test_an_agent_is_heard_as_it_goes_and_goes_on(server: Served) -> None:
    agent = agent_of(server)
    first = Runner.run_streamed(agent, HELLO, run_config=UNTRACED)
    said = ""
    async for event in first.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            said += event.data.delta
    assert said == first.final_output
    second = await Runner.run(
        agent, "and then?", previous_response_id=first.last_response_id, run_config=UNTRACED
    )
    third = await Runner.run(
        agent,
        [*first.to_input_list(), {"role": "user", "content": "and then?"}],
        run_config=UNTRACED,
    )
    assert second.final_output == third.final_output
    spent = [one.context_wrapper.usage.input_tokens for one in (first, second, third)]
    assert spent[0] < spent[1] == spent[2]
