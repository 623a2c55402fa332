"""The same agent in every framework: `python loop_frameworks.py NAME` serves its figures.

Each is given what its users would write, a model that answers at once in the framework's own
types, and no tracing to a network. Must not know what is done with the figures. Frameworks are
imported where they are used, since each environment has only one of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from loop_task import ANSWER, ARGUMENTS, INSTRUCTIONS, REQUEST, Task, serve

if TYPE_CHECKING:
    from agentkit.backend import Capabilities, Decision, ModelSettings, OnDraft, ToolSpec
    from agentkit.message import Message

Run = Callable[[], Awaitable[str]]

_WRITTEN = json.dumps(ARGUMENTS)
_ENDLESS = 10_000  # more turns than any run here takes


def agentkit(task: Task) -> Run:
    """Ours, with a backend that decides at once."""
    from agentkit import Agent
    from agentkit.policies.stop import max_turns

    agent: Agent = Agent(
        instructions=INSTRUCTIONS,
        tools=[task.get_weather],
        backend=Instant(task),
        stop=max_turns(_ENDLESS),
    )

    async def run() -> str:
        return (await agent.run(REQUEST)).output

    return run


class Instant:
    """A backend of ours, and its conversations at once: it keeps nothing of them."""

    def __init__(self, task: Task) -> None:
        from agentkit.backend import Capabilities, Decision, ProposedCall

        def say(calls: int) -> Decision:
            made = [ProposedCall("get_weather", dict(ARGUMENTS)) for _ in range(calls)]
            return Decision(calls=tuple(made), answer=None if made else ANSWER)

        self._task = task
        self._say = say
        self._capabilities = Capabilities(guaranteed=True)

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def open(
        self,
        *,
        instructions: str,
        tools: Sequence[ToolSpec],
        output: Mapping[str, Any] | None = None,
    ) -> Instant:
        return self

    async def extend(self, messages: Sequence[Message]) -> None:
        """A model would read them here."""

    async def decide(
        self, *, settings: ModelSettings | None = None, on_draft: OnDraft | None = None
    ) -> Decision:
        return self._task.model(self._say)

    async def refill(self, *_: object, **__: object) -> Decision:
        raise AssertionError("nothing here is to be refilled")

    def fork(self) -> Instant:
        return self

    async def aclose(self) -> None:
        """Nothing is held."""


def floor(task: Task) -> Run:
    """The least that could honestly be called a loop: no framework, only what ours is made of.

    Arguments are validated, the calls of a turn run side by side under a time limit, results
    become JSON, and the history grows.
    """
    import anyio
    from pydantic import BaseModel, TypeAdapter

    class Arguments(BaseModel):
        city: str
        days: int
        unit: Literal["c", "f"] = "c"

    result = TypeAdapter(dict[str, Any])

    def say(calls: int) -> list[dict[str, Any]]:
        return [dict(ARGUMENTS) for _ in range(calls)]

    async def call(given: dict[str, Any], place: int, results: list[str]) -> None:
        with anyio.fail_after(30):
            checked = Arguments.model_validate(given)
            results[place] = result.dump_json(await task.get_weather(**dict(checked))).decode()

    async def run() -> str:
        history: list[object] = [REQUEST]
        while calls := task.model(say):
            results = [""] * len(calls)
            async with anyio.create_task_group() as group:
                for place, given in enumerate(calls):
                    group.start_soon(call, given, place, results)
            history.append((calls, results))
        return ANSWER

    return run


def pydantic_ai(task: Task) -> Run:
    """pydantic-ai, with its model made of a function; usage is given, or it would be counted."""
    framework = import_module("pydantic_ai")
    messages = import_module("pydantic_ai.messages")
    usage = import_module("pydantic_ai.usage")

    def say(calls: int) -> Any:
        made = [
            messages.ToolCallPart("get_weather", _WRITTEN, tool_call_id=task.call_id())
            for _ in range(calls)
        ]
        spent = usage.RequestUsage(input_tokens=1, output_tokens=1)
        return messages.ModelResponse(parts=made or [messages.TextPart(ANSWER)], usage=spent)

    async def model(_: object, __: object) -> Any:
        return task.model(say)

    double = import_module("pydantic_ai.models.function").FunctionModel(model)
    agent = framework.Agent(double, instructions=INSTRUCTIONS, tools=[task.get_weather])
    unlimited = usage.UsageLimits(request_limit=None)

    async def run() -> str:
        return str((await agent.run(REQUEST, usage_limits=unlimited)).output)

    return run


def openai_agents(task: Task) -> Run:
    """openai-agents, with tracing off."""
    framework = import_module("agents")
    base: Any = import_module("agents.models.interface").Model
    responses = import_module("openai.types.responses")
    framework.set_tracing_disabled(True)

    def call() -> Any:
        made = task.call_id()
        return responses.ResponseFunctionToolCall(
            id=made, call_id=made, type="function_call", name="get_weather", arguments=_WRITTEN
        )

    def answer() -> Any:
        text = responses.ResponseOutputText(text=ANSWER, type="output_text", annotations=[])
        return responses.ResponseOutputMessage(
            id="last", type="message", role="assistant", status="completed", content=[text]
        )

    def say(calls: int) -> Any:
        output = [call() for _ in range(calls)] or [answer()]
        return framework.ModelResponse(output=output, usage=framework.Usage(), response_id=None)

    class Model(base):  # type: ignore[misc]  # its type is known only where it is installed
        async def get_response(self, *_: object, **__: object) -> Any:
            return task.model(say)

        def stream_response(self, *_: object, **__: object) -> Any:
            raise AssertionError("nothing here is streamed")

    tools = [framework.function_tool(task.get_weather)]
    agent = framework.Agent(name="a", instructions=INSTRUCTIONS, model=Model(), tools=tools)

    async def run() -> str:
        done = await framework.Runner.run(agent, REQUEST, max_turns=_ENDLESS)
        return str(done.final_output)

    return run


def langgraph(task: Task) -> Run:
    """langgraph's prebuilt agent."""
    prebuilt = import_module("langgraph.prebuilt")
    tools = [import_module("langchain_core.tools").tool(task.get_weather)]
    return _graph(prebuilt.create_react_agent(_chat_model(task), tools, prompt=INSTRUCTIONS))


def langchain(task: Task) -> Run:
    """langchain's agent, which is a graph of langgraph's too."""
    agents = import_module("langchain.agents")
    tools = [import_module("langchain_core.tools").tool(task.get_weather)]
    return _graph(agents.create_agent(_chat_model(task), tools, system_prompt=INSTRUCTIONS))


def _graph(agent: Any) -> Run:
    async def run() -> str:
        asked = {"messages": [("user", REQUEST)]}
        done = await agent.ainvoke(asked, {"recursion_limit": _ENDLESS})
        return str(done["messages"][-1].content)

    return run


def _chat_model(task: Task) -> Any:
    base: Any = import_module("langchain_core.language_models").BaseChatModel
    messages = import_module("langchain_core.messages")
    outputs = import_module("langchain_core.outputs")

    def call() -> dict[str, Any]:
        return {"name": "get_weather", "args": dict(ARGUMENTS), "id": task.call_id()}

    def say(calls: int) -> Any:
        made = [call() for _ in range(calls)]
        message = messages.AIMessage(content="" if made else ANSWER, tool_calls=made)
        return outputs.ChatResult(generations=[outputs.ChatGeneration(message=message)])

    class Model(base):  # type: ignore[misc]  # its type is known only where it is installed
        @property
        def _llm_type(self) -> str:
            return "instant"

        def bind_tools(self, *_: object, **__: object) -> Any:
            return self

        def _generate(self, *_: object, **__: object) -> Any:
            raise AssertionError("nothing here is synchronous")

        async def _agenerate(self, *_: object, **__: object) -> Any:
            return task.model(say)

    return Model()


def smolagents(task: Task) -> Run:
    """smolagents' agent of tool calls. It is synchronous, and so is its tool."""
    framework = import_module("smolagents")
    base: Any = framework.Model
    models = import_module("smolagents.models")

    def call(name: str, arguments: dict[str, Any]) -> Any:
        made = models.ChatMessageToolCallFunction(name=name, arguments=arguments)
        return models.ChatMessageToolCall(id=task.call_id(), type="function", function=made)

    def say(calls: int) -> Any:
        made = [call("get_weather", dict(ARGUMENTS)) for _ in range(calls)]
        said = made or [call("final_answer", {"answer": ANSWER})]
        return models.ChatMessage(role=models.MessageRole.ASSISTANT, content="", tool_calls=said)

    class Model(base):  # type: ignore[misc]  # its type is known only where it is installed
        def generate(self, *_: object, **__: object) -> Any:
            return task.model(say)

    def get_weather(city: str, days: int, unit: str = "c") -> dict[str, Any]:
        """Give the weather forecast.

        Args:
            city: The city's name.
            days: How many days ahead.
            unit: Celsius or Fahrenheit.
        """
        return task.forecast(city, days, unit)

    agent = framework.ToolCallingAgent(
        tools=[framework.tool(get_weather)],
        model=Model(),
        instructions=INSTRUCTIONS,
        verbosity_level=import_module("smolagents.monitoring").LogLevel.OFF,
        max_steps=_ENDLESS,
    )

    async def run() -> str:
        return str(agent.run(REQUEST))

    return run


FRAMEWORKS: Mapping[str, tuple[Callable[[Task], Run], str]] = {
    "agentkit": (agentkit, "agentkit-diffusion"),
    "floor": (floor, "anyio"),
    "pydantic-ai": (pydantic_ai, "pydantic-ai-slim"),
    "openai-agents": (openai_agents, "openai-agents"),
    "langgraph": (langgraph, "langgraph"),
    "langchain": (langchain, "langchain"),
    "smolagents": (smolagents, "smolagents"),
}
"""Name -> its agent, and the distribution that its version is that of."""


if __name__ == "__main__":
    make, distribution = FRAMEWORKS[sys.argv[1]]
    served = Task()
    serve(served, make(served), version(distribution))
