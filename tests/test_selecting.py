"""Which tools a model sees: those that fit the request, those named, and those it has called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, cast

import anyio.lowlevel
import pytest
from clocks import in_several_loops
from hypothesis import given
from hypothesis import strategies as st

from agentkit import (
    Agent,
    Approve,
    Branch,
    CallMessage,
    DefinitionError,
    Message,
    Resume,
    RunResult,
    Tool,
    Toolset,
    ToolSpec,
    UserMessage,
    ask_when,
    best_tools,
    choice,
    escalate_to,
    handoff,
    tool,
)
from agentkit.selecting.words import Words, said_by
from agentkit.testing import ScriptedBackend, answer, call, drafted


def spec(name: str, description: str = "", **properties: Any) -> ToolSpec:
    return ToolSpec(name, description, {"type": "object", "properties": properties})


def made(name: str, description: str) -> Tool[..., Any]:
    async def act(text: str = "") -> str:
        return f"{name}: {text}"

    return tool(act, name=name, description=description)


WEATHER = made("get_weather", "The weather of a place.")
MAIL = made("send_mail", "Send a mail to somebody.")
STOCK = made("stockPrice", "What a share costs.")
HOUSE = Toolset(
    "house",
    [WEATHER, MAIL, STOCK, *(made(f"valve_{n}", f"Open valve {n}.") for n in range(300))],
)


def scripted(*script: Any) -> ScriptedBackend:
    return ScriptedBackend([*script, answer("Done")])


def seen(backend: ScriptedBackend) -> list[list[str]]:
    """The names of the tools of each conversation."""
    return [[one.name for one in each.tools] for each in backend.conversations]


@pytest.mark.parametrize(
    ("request_", "best"),
    [
        ("Will the weather be fine?", "get_weather"),
        ("MAILS to everybody", "send_mail"),
        ("the price of a stock", "stockPrice"),
        ("how much do shares cost", "stockPrice"),
        ("look for HTTPErrors", "findHTTPError"),
        ("who is in the Köln office", "staff"),
        ("a pizza with olives", "order"),
        ("in celsius please", "convert"),
        ("pay the deposit", "nested"),
    ],
)
def test_words_are_compared_by_stems_wherever_they_stand(request_: str, best: str) -> None:
    tools = [
        *(one.spec for one in (WEATHER, MAIL, STOCK)),
        spec("findHTTPError"),
        spec("staff", "People of an office: Köln, Rome."),
        spec("order", topping={"type": "string", "description": "Olive, say."}),
        spec("convert", unit={"enum": ["celsius", "kelvin", 3]}),
        spec(
            "nested",
            booking={"type": "array", "items": {"properties": {"deposit_paid": {}}}},
        ),
    ]
    scores = Words(tools).scores(request_)
    assert tools[scores.index(max(scores))].name == best


def test_names_are_read_as_words() -> None:
    words = said_by(spec("ns.getHTTPReply_now-2", "Ask.", **{"user-id": True}))
    assert words == "ns get HTTP Reply now 2 Ask user id"


@given(st.text(), st.lists(st.text(), max_size=3))
def test_no_text_breaks_the_index(asked: str, told: list[str]) -> None:
    tools = [spec(f"tool_{number}", text) for number, text in enumerate(told)]
    scores = Words(tools).scores(asked)
    assert len(scores) == len(tools)
    assert all(score >= 0 for score in scores)


def test_a_request_may_be_as_long_as_a_book() -> None:
    pages = " ".join(f"page{number}" for number in range(50_000))
    words = Words([one.spec for one in HOUSE])
    for asked in (f"weather {pages}", f"{pages} weather"):
        scores = words.scores(asked)
        assert HOUSE.tools[scores.index(max(scores))] is WEATHER


async def test_a_model_sees_the_tools_that_fit_and_no_others() -> None:
    backend = scripted(call("get_weather", text="x"))
    agent = Agent(tools=[HOUSE], select=best_tools(3), backend=backend)
    result = await agent.run("What is the weather like?")
    assert [len(names) for names in seen(backend)] == [3]
    assert "get_weather" in seen(backend)[0]
    assert result.results[0].content == "get_weather: x"


async def test_the_order_is_the_agent_s() -> None:
    backend = scripted()
    agent = Agent(tools=[HOUSE], select=best_tools(3), backend=backend)
    await agent.run("mail the price of stock and the weather")
    assert seen(backend) == [["get_weather", "send_mail", "stockPrice"]]


async def test_where_few_fit_the_first_of_the_agent_fill_the_places() -> None:
    backend = scripted()
    agent = Agent(tools=[HOUSE], select=best_tools(3), backend=backend)
    await agent.run("stock?")
    assert seen(backend) == [["get_weather", "send_mail", "stockPrice"]]


async def test_with_few_tools_all_are_seen() -> None:
    backend = scripted()
    await Agent(tools=[WEATHER, MAIL], select=best_tools(8), backend=backend).run("Hello")
    assert seen(backend) == [["get_weather", "send_mail"]]


async def test_some_are_shown_in_any_case_beside_the_others() -> None:
    backend = scripted()
    select = best_tools(1, always=["valve_29?", "send_mail"])
    await Agent(tools=[HOUSE], select=select, backend=backend).run("send mail about the weather")
    assert seen(backend) == [["get_weather", "send_mail", *(f"valve_29{n}" for n in range(10))]]


async def test_a_tool_that_is_not_seen_can_not_be_called() -> None:
    backend = scripted(call("send_mail", text="x"))
    agent = Agent(tools=[HOUSE], select=best_tools(1), backend=backend)
    result = await agent.run("weather")
    assert result.results[0].is_error
    assert result.results[0].content == "There is no tool 'send_mail'. Tools: get_weather."


async def test_nor_can_it_on_a_guess() -> None:
    called: list[str] = []

    @tool(pure=True)
    async def peek(key: str) -> str:
        called.append(key)
        return key

    turn = drafted(call("get_weather"), call("peek", key="a"))
    agent = Agent(tools=[HOUSE, peek], select=best_tools(1), backend=scripted(turn))
    await agent.run("weather")
    assert called == []


async def test_what_the_history_calls_stays() -> None:
    backend = ScriptedBackend([call("send_mail", text="x"), answer("Sent"), answer("Fine")])
    agent = Agent(tools=[HOUSE], select=best_tools(1), backend=backend)
    first = await agent.run("mail Ann")
    await agent.run("and the weather?", history=first.history)
    assert seen(backend) == [["send_mail"], ["get_weather", "send_mail"]]


async def test_a_run_that_goes_on_sees_what_it_saw() -> None:
    backend = ScriptedBackend([call("send_mail", text="x"), answer("Sent")])
    held = HOUSE.needing_approval("send_mail")
    agent = Agent(tools=[held], select=best_tools(2), backend=backend)
    paused = await agent.run("mail and weather")
    assert paused.status == "paused"
    verdicts = {one.call.id: Approve() for one in paused.pending}
    result = await agent.run(Resume(verdicts), history=paused.history)
    assert result.results[0].content == "send_mail: x"
    assert seen(backend) == [["get_weather", "send_mail"]] * 2


async def test_a_hand_off_chooses_anew_for_the_agent_that_goes_on() -> None:
    backend = ScriptedBackend([call("hand_off_to_expert"), call("stockPrice"), answer("7")])
    expert = Agent(
        name="expert",
        description="Knows money.",
        tools=[HOUSE],
        select=best_tools(1),
        backend=backend,
    )
    agent = Agent(
        tools=[handoff(expert), HOUSE],
        select=best_tools(1, always=["hand_off_*"]),
        backend=backend,
    )
    result = await agent.run("the price of a stock")
    assert seen(backend) == [["hand_off_to_expert", "stockPrice"], ["stockPrice"]]
    assert result.results[-1].content == "stockPrice: "


async def test_branches_that_share_a_conversation_see_the_tools_of_all() -> None:
    def chosen(messages: Sequence[Message]) -> Any:
        last = messages[-1]
        if isinstance(last, UserMessage):
            return call("send_mail") if "mail" in last.text else call("stockPrice")
        return answer("Done")

    backend = ScriptedBackend([chosen] * 4)
    agent = Agent(tools=[HOUSE], select=best_tools(1), backend=backend)
    results = await agent.branch(["mail Ann", Branch("a stock, please")])
    assert seen(backend) == [["send_mail", "stockPrice"]] * 2
    for result in results:
        assert isinstance(result, RunResult)
        assert not any(one.is_error for one in result.results)


async def test_a_branch_can_not_call_what_is_not_seen_either() -> None:
    def chosen(messages: Sequence[Message]) -> Any:
        return call("send_mail") if isinstance(messages[-1], UserMessage) else answer("Done")

    agent = Agent(tools=[HOUSE], select=best_tools(1), backend=ScriptedBackend([chosen] * 4))
    for result in await agent.branch(["weather", "a stock"]):
        assert isinstance(result, RunResult)
        (refused,) = result.results
        assert refused.content == "There is no tool 'send_mail'. Tools: get_weather, stockPrice."


async def test_another_backend_that_is_asked_sees_the_same() -> None:
    other = scripted(call("send_mail").chosen(1.0))
    backend = ScriptedBackend([call("get_weather").chosen(0.3), answer("Done")])
    agent = Agent(
        tools=[HOUSE],
        select=best_tools(2),
        backend=backend,
        policies=[escalate_to(other, when=choice < 0.5), ask_when(choice < 0.2)],
    )
    result = await agent.run("mail me the weather")
    assert seen(other) == seen(backend) == [["get_weather", "send_mail"]]
    assert result.results[0].content == "send_mail: "


class Counting:
    """A selection of one's own: the first tool; counts how often it indexes."""

    def __init__(self, *chosen: str) -> None:
        self.indexed: list[int] = []
        self.chosen = chosen

    def index(self, tools: Sequence[ToolSpec]) -> Callable[[str], Awaitable[Collection[str]]]:
        self.indexed.append(len(tools))

        async def choose(request: str) -> Collection[str]:
            return self.chosen or [tools[0].name]

        return choose


async def test_tools_are_indexed_once_whatever_runs_and_hands_off() -> None:
    own = Counting()
    backend = ScriptedBackend([call("get_weather"), call("hand_off_to_house"), answer("Done")] * 3)
    expert = Agent(name="house", tools=[HOUSE], select=own, backend=backend)
    agent = Agent(tools=[handoff(expert), WEATHER], backend=backend)
    for _ in range(3):
        await agent.run("weather")
    assert own.indexed == [303]
    await expert.with_backend(scripted()).run("again")
    assert own.indexed == [303]


async def test_a_tool_that_comes_later_is_among_those_to_choose_from() -> None:
    backend = ScriptedBackend([answer("Done")] * 2)
    agent = Agent(tools=[HOUSE], select=best_tools(1), backend=backend)
    await agent.run("zeppelins")

    @agent.tool
    def zeppelin() -> str:
        """Fly one."""
        return "up"

    await agent.run("zeppelins")
    assert seen(backend) == [["get_weather"], ["zeppelin"]]


def test_several_event_loops_may_run_one_agent() -> None:
    own = Counting("get_weather")
    agent = Agent(tools=[HOUSE], select=own, backend=ScriptedBackend([answer("Done")] * 4))
    in_several_loops(lambda: agent.run("weather"), 4)
    assert own.indexed == [303]


def test_what_is_no_selection_is_refused() -> None:
    with pytest.raises(DefinitionError, match="select=8 is no selection; give one such as"):
        Agent(tools=[HOUSE], select=cast(Any, 8))


async def test_a_selection_chooses_among_the_tools_there_are() -> None:
    agent = Agent(tools=[HOUSE], select=Counting("nothing"), backend=scripted())
    with pytest.raises(DefinitionError, match=r"select=.* chose 'nothing', which is no tool"):
        await agent.run("weather")


async def test_a_name_that_is_always_shown_is_that_of_a_tool() -> None:
    agent = Agent(tools=[HOUSE], select=best_tools(always=["get_wether"]), backend=scripted())
    with pytest.raises(DefinitionError, match="always='get_wether' fits no tool of the agent"):
        await agent.run("weather")


@pytest.mark.parametrize("options", [{"most": 0}, {"always": "get_weather"}])
def test_what_can_not_be_chosen_says_why(options: Any) -> None:
    with pytest.raises(DefinitionError, match="give 1 tool or more, and a list of names"):
        best_tools(**options)


MEANINGS = {"get_weather": "rain umbrella", "send_mail": "letter", "stockPrice": "market"}


def vectors(texts: Sequence[str]) -> list[list[float]]:
    """What somebody's model would say: a dimension for each meaning, and one for all the rest."""
    found: list[list[float]] = []
    for text in texts:
        row = [
            float(text.startswith(f"{name}:") or any(word in text for word in words.split()))
            for name, words in MEANINGS.items()
        ]
        found.append([*row, 0.1])
    return found


async def async_vectors(texts: Sequence[str]) -> list[list[float]]:
    await anyio.lowlevel.checkpoint()
    return vectors(texts)


@pytest.mark.parametrize("embed", [vectors, async_vectors])
@pytest.mark.parametrize(
    ("request_", "expected"),
    [("do I need an umbrella", "get_weather"), ("a letter to Ann", "send_mail")],
)
async def test_tools_are_found_by_their_meaning_too(
    embed: Any, request_: str, expected: str
) -> None:
    backend = scripted()
    agent = Agent(tools=[HOUSE], select=best_tools(2, embed=embed), backend=backend)
    await agent.run(request_)
    assert expected in seen(backend)[0]


async def test_words_and_meaning_are_mixed() -> None:
    backend = scripted()
    agent = Agent(tools=[HOUSE], select=best_tools(2, embed=vectors), backend=backend)
    await agent.run("open valve 77 at the market")
    assert seen(backend) == [["stockPrice", "valve_77"]]


async def test_all_tools_are_embedded_once_and_a_request_each_run() -> None:
    asked: list[int] = []

    def embed(texts: Sequence[str]) -> list[list[float]]:
        asked.append(len(texts))
        return vectors(texts)

    agent = Agent(
        tools=[HOUSE],
        select=best_tools(embed=embed),
        backend=ScriptedBackend([answer("Done")] * 3),
    )
    for _ in range(3):
        await agent.run("weather")
    assert asked == [303, 1, 1, 1]


@pytest.mark.parametrize("wrong", [[], [[1.0]] * 303 + [[0.0]], [[0.0]] * 303, OSError("no line")])
async def test_where_embedding_fails_the_words_decide(
    wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    failing = True

    def embed(texts: Sequence[str]) -> list[list[float]]:
        if not failing:
            return vectors(texts)
        if isinstance(wrong, OSError):
            raise wrong
        found: list[list[float]] = wrong
        return found

    backend = ScriptedBackend([answer("Done")] * 2)
    agent = Agent(tools=[HOUSE], select=best_tools(1, embed=embed), backend=backend)
    await agent.run("stock")
    assert "tools are chosen by their words alone" in caplog.text
    failing = False
    await agent.run("umbrella")
    assert seen(backend) == [["stockPrice"], ["get_weather"]]


async def test_what_was_called_is_known_from_any_message() -> None:
    result = await Agent(
        tools=[HOUSE],
        select=best_tools(1),
        backend=scripted([call("get_weather"), call("send_mail")]),
    ).run("weather")
    (message,) = [one for one in result.messages if isinstance(one, CallMessage)]
    assert [one.tool for one in message.calls] == ["get_weather", "send_mail"]
    backend = scripted()
    agent = Agent(tools=[HOUSE], select=best_tools(1), backend=backend)
    await agent.run("stock", history=result.history)
    assert seen(backend) == [["get_weather", "send_mail", "stockPrice"]]
