"""Our MCP server against the official client, over standard streams and HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx2
import mcp_types as types
import pytest
import uvicorn
from anyio.abc import TaskStatus
from mcp import MCPError, StdioServerParameters
from mcp.client import Client, ClientRequestContext
from mcp.server import Server, ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.subscriptions import ToolsListChanged
from mcp_reference import inspector

from agentkit import (
    Agent,
    AgentKitError,
    Call,
    DefinitionError,
    PluginError,
    Retry,
    RunContext,
    Toolset,
    argument,
    tool,
)
from agentkit.mcp import Http, mcp_toolset, serve
from agentkit.running.performing import perform
from agentkit.terminal.cli import main
from agentkit.testing import ScriptedBackend, answer, call

Mode = Literal["auto", "legacy"]
MODES: tuple[Mode, ...] = ("auto", "legacy")


@dataclass
class Note:
    title: str
    stars: int


@tool
def keep(note: Note, tags: list[str] | None = None) -> dict[str, Any]:
    """Keep a note.

    Args:
        note: The note.
    """
    print("kept")  # goes to stderr, or it would break the protocol
    return {"title": note.title, "tags": tags}


@tool(approval=True)
def wipe(days: int = 1) -> str:
    """Wipe all notes."""
    return f"wiped {days}"


@tool
def choose(day: str) -> str:
    """Choose a day."""
    raise Retry("there is no such day", value="day")


@tool
def walk(context: RunContext[Any]) -> str:
    """Walk three steps."""
    for step in (1, 2, 3):
        context.report_sync(f"step {step}", done=step, total=3)
    return "there"


@tool(deferred=True)
def later() -> str:
    """Done elsewhere."""
    raise AssertionError("is never called")


TOOLS = Toolset("notes", [keep, wipe, choose, walk, later])


@asynccontextmanager
async def served(
    tools: Sequence[Any] = (TOOLS,), *, at: Http | None = None, **options: Any
) -> AsyncGenerator[str]:
    """The URL of a server of ours, for as long as the block lasts."""
    listening = at or Http(port=0)
    urls: list[str] = []
    ready = anyio.Event()

    def told(url: str) -> None:
        urls.append(url)
        ready.set()

    http = Http(host=listening.host, port=listening.port, key=listening.key, listening=told)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: serve(tools, transport=http, **options))
        with anyio.fail_after(20):
            await ready.wait()
        yield urls[0]
        group.cancel_scope.cancel()


def text_of(result: types.CallToolResult) -> str:
    [block] = result.content
    assert isinstance(block, types.TextContent)
    return block.text


def answering(action: str, approve: bool = True) -> Callable[..., Any]:
    """A client's human; what they were asked is kept in `asked`."""

    async def human(
        context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult:
        asked.append(params.message)
        content = {"approve": approve} if action == "accept" else None
        return types.ElicitResult(action=action, content=content)  # type: ignore[arg-type]

    asked: list[str] = []
    human.asked = asked  # type: ignore[attr-defined]
    return human


# --- over standard streams


@pytest.fixture
def program(tmp_path: Path) -> StdioServerParameters:
    """A program that serves the tools above, and an agent, over standard streams."""
    file = tmp_path / "program.py"
    file.write_text(
        "import anyio, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_mcp_server import TOOLS\n"
        "from agentkit.mcp import serve\n"
        "anyio.run(serve, [TOOLS])\n"
        "print('this comes when all is over')\n"
    )
    return StdioServerParameters(command=sys.executable, args=[str(file)])


@pytest.mark.parametrize("mode", MODES)
async def test_tools_are_listed_and_called_over_standard_streams(
    program: StdioServerParameters, mode: Mode
) -> None:
    async with Client(program, mode=mode) as client:
        assert client.server_info is not None
        assert client.server_info.name == "agentkit"
        tools = {one.name: one for one in (await client.list_tools()).tools}
        assert [*tools] == ["keep", "wipe", "choose", "walk"]
        assert tools["keep"].input_schema == keep.parameters
        assert tools["keep"].description == "Keep a note."
        wiping = tools["wipe"].annotations
        assert wiping is not None
        assert wiping.destructive_hint is True
        kept = await client.call_tool("keep", {"note": {"title": "Tea", "stars": 3}})
        assert kept.structured_content == {"title": "Tea", "tags": None}
        assert json.loads(text_of(kept)) == kept.structured_content
        wrong = await client.call_tool("keep", {"note": {"title": "Tea", "stars": "many"}})
        assert wrong.is_error
        assert "/note/stars: Input should be a valid integer" in text_of(wrong)
        refused = await client.call_tool("choose", {"day": "Someday"})
        assert (refused.is_error, text_of(refused)) == (True, "there is no such day")
        with pytest.raises(MCPError, match="there is no tool 'nothing'"):
            await client.call_tool("nothing", {})


def test_nothing_but_the_protocol_is_on_standard_output(program: StdioServerParameters) -> None:
    asked: list[dict[str, Any]] = [
        {
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        },
        {"method": "notifications/initialized"},
        {
            "id": 2,
            "method": "tools/call",
            "params": {"name": "keep", "arguments": {"note": {"title": "a", "stars": 1}}},
        },
    ]
    process = subprocess.Popen(
        [program.command, *program.args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    answers: list[Any] = []
    for message in asked:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        process.stdin.flush()
        if "id" in message:
            answers.append(json.loads(process.stdout.readline()))
    rest, errors = process.communicate(timeout=30)
    assert [one["id"] for one in answers] == [1, 2]
    assert rest == "this comes when all is over\n"
    assert "kept" in errors


def test_ctrl_c_ends_a_server_that_waits_for_its_client() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "agentkit", "mcp", "serve", "--tools", "calculator"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


# --- over HTTP


@pytest.mark.parametrize("mode", MODES)
async def test_tools_are_called_over_http_and_tell_their_progress(mode: Mode) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with served() as url, Client(url, mode=mode) as client:
        result = await client.call_tool("walk", {}, progress_callback=hear)
    assert text_of(result) == "there"
    assert sorted(heard) == [(step, 3, f"step {step}") for step in (1, 2, 3)]


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_the_client_gives_up_is_cancelled(mode: Mode) -> None:
    begun, ended = anyio.Event(), anyio.Event()

    @tool
    async def sleep() -> str:
        """Sleep for ever."""
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
        return ""

    async with served([sleep]) as url, Client(url, mode=mode) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "sleep", {})
            with anyio.fail_after(10):
                await begun.wait()
            group.cancel_scope.cancel()
        with anyio.fail_after(10):
            await ended.wait()


async def test_strangers_are_kept_out() -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accepted = {"accept": "application/json, text/event-stream"}
    async with served(at=Http(port=0, key="s3cret")) as url, httpx2.AsyncClient() as browser:
        port = httpx2.URL(url).port

        async def status(**headers: str) -> int:
            said = {**accepted, "authorization": "Bearer s3cret", **headers}
            return (await browser.post(url, json=message, headers=said)).status_code

        assert await status(authorization="") == 401
        assert await status(authorization="Bearer s3cre") == 401
        assert await status(host=f"evil.example:{port}") == 421  # DNS rebinding
        assert await status(origin="https://evil.example") == 403
        assert await status(origin=f"http://localhost:{port}") not in {401, 403, 421}
        bearing = {"authorization": "Bearer s3cret"}
        async with mcp_toolset(url=url, headers=bearing) as toolset:
            assert [one.name for one in toolset] == ["keep", "wipe", "choose", "walk"]
        with pytest.raises(PluginError, match="it answered with status 401; give `headers=`"):
            async with mcp_toolset(url=url):
                raise AssertionError("it is opened")


async def test_beyond_this_machine_a_key_is_needed() -> None:
    with pytest.raises(AgentKitError, match=r"at 0\.0\.0\.0 anybody in reach .* give a key"):
        await serve([TOOLS], transport=Http(host="0.0.0.0", port=0))
    with pytest.raises(AgentKitError, match=r"can't listen at 127\.0\.0\.1:99999"):
        await serve([TOOLS], transport=Http(port=99999))


# --- approval


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("action", "approve", "said"),
    [
        ("accept", True, "wiped 3"),
        ("accept", False, "The user denied this call."),
        ("decline", True, "The user denied this call."),
        ("cancel", True, "The user denied this call."),
    ],
)
async def test_the_clients_human_is_asked_about_what_needs_approval(
    mode: Mode, action: str, approve: bool, said: str
) -> None:
    human: Any = answering(action, approve)
    async with served() as url, Client(url, mode=mode, elicitation_callback=human) as client:
        result = await client.call_tool("wipe", {"days": 3})
    assert human.asked == ['Call wipe with {"days": 3}?']
    assert text_of(result) == said
    assert result.is_error is (said != "wiped 3")


@pytest.mark.parametrize("mode", MODES)
async def test_where_nobody_can_be_asked_it_is_refused(mode: Mode) -> None:
    async with served() as url, Client(url, mode=mode) as client:
        result = await client.call_tool("wipe", {})
    assert result.is_error
    assert "needs approval and this client has nobody to ask" in text_of(result)
    assert "--approve wipe" in text_of(result)


async def test_the_server_may_be_told_to_allow_it() -> None:
    async with served(approve=["wi*"]) as url, Client(url) as client:
        assert text_of(await client.call_tool("wipe", {})) == "wiped 1"
    with pytest.raises(DefinitionError, match="'keep' is to be approved, and fits no tool"):
        await serve([TOOLS], approve=["keep"])


async def test_a_condition_says_which_calls_need_approval() -> None:
    @tool
    def drop(days: int) -> str:
        """Drop some days."""
        return f"dropped {days}"

    held = Toolset("notes", [drop]).needing_approval(when=argument("days") > 7)
    async with served([held]) as url, Client(url) as client:
        assert text_of(await client.call_tool("drop", {"days": 7})) == "dropped 7"
        assert (await client.call_tool("drop", {"days": 8})).is_error


# --- agents


def clerk(*script: Any) -> Agent:
    return Agent(
        tools=[keep, wipe],
        backend=ScriptedBackend(script),
        name="clerk",
        description="Keeps notes.",
    )


async def test_an_agent_is_asked_as_a_tool() -> None:
    steps: list[str | None] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        steps.append(message)

    agent = clerk(call("keep", note={"title": "Tea", "stars": 1}), answer("It is kept."))
    async with served([], agents=[agent]) as url, Client(url) as client:
        [one] = (await client.list_tools()).tools
        assert (one.name, one.description) == ("ask_clerk", "Keeps notes.")
        assert one.input_schema["required"] == ["request"]
        result = await client.call_tool(
            "ask_clerk", {"request": "Keep it."}, progress_callback=hear
        )
    assert text_of(result) == "It is kept."
    assert steps == ["calls keep"]


async def test_an_agents_tools_need_approval_too() -> None:
    human: Any = answering("accept")
    script = (call("wipe", days=2), answer("Wiped."))
    async with served([], agents=[clerk(*script, *script)]) as url:
        async with Client(url, mode="legacy", elicitation_callback=human) as client:
            asked = await client.call_tool("ask_clerk", {"request": "Wipe."})
        assert text_of(asked) == "Wiped."
        assert human.asked == ['Call wipe with {"days": 2}?']
    async with served([], agents=[clerk(*script)]) as url, Client(url) as client:
        refused = await client.call_tool("ask_clerk", {"request": "Wipe."})
    assert refused.is_error
    assert "clerk needs approval of wipe, which nobody here can give" in text_of(refused)


# --- both ends


async def test_our_client_goes_on_when_our_server_was_away() -> None:
    arguments = {"note": {"title": "a", "stars": 1}}
    states: list[bool] = []
    ports: list[int] = []

    async def run(port: int, scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        def told(url: str) -> None:
            ports.append(httpx2.URL(url).port or 0)
            task_status.started()

        with scope:
            await serve([TOOLS], transport=Http(port=port, listening=told))
        gone.set()

    async with anyio.create_task_group() as group:
        gone, first, second = anyio.Event(), anyio.CancelScope(), anyio.CancelScope()
        await group.start(run, 0, first)
        async with mcp_toolset(url=f"http://127.0.0.1:{ports[0]}/mcp") as toolset:
            tools = {one.name: one for one in toolset}

            async def kept() -> None:
                outcome = await perform(Call("1", "keep", arguments), tools)
                states.append(outcome.result is not None and not outcome.result.is_error)

            await kept()
            first.cancel()
            await gone.wait()
            await kept()
            await group.start(run, ports[0], second)
            await kept()
        second.cancel()
    assert states == [True, False, True]


async def test_our_client_hears_of_new_tools_from_a_newer_server() -> None:
    bus = InMemorySubscriptionBus()
    schema = {"type": "object", "properties": {}}
    tools = {"grow": types.Tool(name="grow", input_schema=schema)}

    async def listed(_: ServerRequestContext[Any], __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[*tools.values()])

    async def called(_: ServerRequestContext[Any], __: Any) -> types.CallToolResult:
        tools["grown"] = types.Tool(name="grown", input_schema=schema)
        await bus.publish(ToolsListChanged())
        return types.CallToolResult(content=[])

    server: Server[Any] = Server(
        "newer",
        on_list_tools=listed,
        on_call_tool=called,
        on_subscriptions_listen=ListenHandler(bus),
    )
    web = uvicorn.Server(uvicorn.Config(server.streamable_http_app(), port=0, log_level="error"))
    async with anyio.create_task_group() as group:
        group.start_soon(web.serve)
        try:
            await become(lambda: web.started)
            port = web.servers[0].sockets[0].getsockname()[1]
            async with mcp_toolset(url=f"http://127.0.0.1:{port}/mcp") as toolset:
                [grow] = toolset
                await grow.function(RunContext[Any](deps=None))
                await become(lambda: [one.name for one in toolset] == ["grow", "grown"])
        finally:
            web.should_exit = True


async def become(true: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not true():  # noqa: ASYNC110  what is waited for tells no event
            await anyio.sleep(0.01)


# --- the command line


def test_the_command_lists_what_the_command_serves(capsys: pytest.CaptureFixture[str]) -> None:
    serving = [sys.executable, "-m", "agentkit", "mcp", "serve", "--tools", "calculator"]
    assert main(["mcp", "list", "--json", "--", *serving]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == "agentkit"
    assert [one["name"] for one in found["tools"]] == ["calculator"]
    assert found["tools"][0]["parameters"]["required"] == ["expression"]


def test_the_protocols_inspector_lists_what_the_command_serves() -> None:
    serving = [sys.executable, "-m", "agentkit", "mcp", "serve", "--tools", "calculator"]
    asked = [inspector(), "--cli", *serving, "--method", "tools/list"]
    found = json.loads(subprocess.check_output(asked, timeout=60))
    assert [one["name"] for one in found["tools"]] == ["calculator"]


async def test_an_agent_in_a_file_is_served_over_http(tmp_path: Path) -> None:
    file = tmp_path / "desk.py"
    file.write_text(
        "from agentkit import Agent\n"
        "from agentkit.testing import ScriptedBackend, answer\n"
        "desk = Agent(name='desk', backend=ScriptedBackend([answer('Hello.')]))\n"
    )
    command = [sys.executable, "-m", "agentkit", "mcp", "serve", "--agent", f"{file}:desk"]
    process = await anyio.open_process([*command, "--http", "0"], stdin=None, stdout=None)
    assert process.stderr is not None
    try:
        with anyio.fail_after(30):
            said = b""
            while not said.endswith(b"\n"):
                said += await process.stderr.receive()
        async with Client(said.decode().split()[-1]) as client:
            result = await client.call_tool("ask_desk", {"request": "Hi."})
        assert text_of(result) == "Hello."
        process.send_signal(signal.SIGINT)
        with anyio.fail_after(30):
            assert await process.wait() in {0, 130}
    finally:
        await process.aclose()


def test_the_command_tells_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mcp", "serve"]) == 1
    assert "nothing to serve; name tool plugins with --tools" in capsys.readouterr().err
    assert main(["mcp", "list", "--", "no such command"]) == 1
    assert "'no such command'\" can't be reached" in capsys.readouterr().err
