"""Tools of MCP servers: the protocol's reference servers, and one that does what none should."""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import mcp_types as types
import pytest
from anyio.abc import Process
from mcp_reference import reference_server
from referencing.exceptions import Unresolvable

from agentkit import Agent, Call, CallProgress, DefinitionError, PluginError, ResultMessage
from agentkit.defining.schema import JsonSchema
from agentkit.errors import TemplateError
from agentkit.mcp import McpToolset, Prompt, ServerError, mcp_toolset
from agentkit.mcp.contents import result_text
from agentkit.mcp.relaxing import Loosened, relaxed
from agentkit.message import UserMessage
from agentkit.running.performing import Outcome, perform
from agentkit.testing import ScriptedBackend, ScriptedCall, answer, call

if TYPE_CHECKING:
    from agentkit_engine import Engine

PEER = (sys.executable, str(Path(__file__).with_name("mcp_peer.py")))
BROKEN_OFF = "was lost during the call, which may or may not have had its effect"


@pytest.fixture
def everything() -> tuple[str, ...]:
    return (reference_server("everything"), "stdio")


async def made(toolset: McpToolset, tool: str, **arguments: Any) -> ResultMessage:
    """A call's result, made as a run makes it."""
    tools = {one.name: one for one in toolset}
    outcome: Outcome = await perform(Call("c1", tool, arguments), tools)
    assert outcome.result is not None
    return outcome.result


def names(toolset: McpToolset) -> list[str]:
    return [tool.name for tool in toolset]


@asynccontextmanager
async def noted(folder: Path) -> AsyncGenerator[tuple[McpToolset, Path]]:
    """The peer, and the file that it writes what it heard into."""
    notes = folder / "notes"
    async with mcp_toolset(*PEER, notes, log_level="warning") as peer:
        yield peer, notes


async def written(notes: Path, line: str) -> None:
    """Wait until the peer has heard something."""
    await become(lambda: notes.exists() and line in notes.read_text().splitlines())


async def become(true: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not true():  # noqa: ASYNC110  another process tells no event
            await anyio.sleep(0.01)


# --- the reference servers


async def test_an_agent_uses_the_tools_of_the_everything_server(
    everything: tuple[str, ...],
) -> None:
    async with mcp_toolset(*everything, prefix="all_", exclude=["get-env"]) as server:
        assert server.name == "mcp-servers/everything"
        assert "all_echo" in names(server)
        assert "all_get-env" not in names(server)
        script = (
            [
                call("all_get-sum", a=2, b=40),
                call("all_get-structured-content", location="Chicago"),
                call("all_get-sum", a="two", b=40),
            ],
            answer("42"),
        )
        result = await Agent(tools=[server], backend=ScriptedBackend(script)).run("2 + 40?")
    total, weather, refused = result.results
    assert total.content == "The sum of 2 and 40 is 42."
    assert json.loads(weather.content)["conditions"]  # said once, though it is sent twice
    assert refused.is_error
    assert "/a: 'two' is not of type 'number'" in refused.content


async def test_what_is_no_text_is_told_as_what_it_is(everything: tuple[str, ...]) -> None:
    async with mcp_toolset(*everything) as server:
        image = await made(server, "get-tiny-image")
        linked = await made(server, "get-resource-links", count=1)
        text = await made(server, "get-resource-reference", resourceType="Text", resourceId=1)
        blob = await made(server, "get-resource-reference", resourceType="Blob", resourceId=1)
    assert "\n[image, image/png, 4033 bytes; not shown]\n" in image.content
    assert "[resource 'Blob Resource 1' at demo://resource/dynamic/blob/1, text/" in linked.content
    assert "[resource demo://resource/dynamic/text/1]\nResource 1: This is a" in text.content
    assert "[resource demo://resource/dynamic/blob/1, text/plain, " in blob.content
    assert "bytes; not shown]" in blob.content


async def test_progress_reaches_those_who_listen_to_the_run(everything: tuple[str, ...]) -> None:
    async with mcp_toolset(*everything, include=["trigger-*"]) as server:
        script = (call("trigger-long-running-operation", duration=0.2, steps=2), answer("done"))
        agent = Agent(tools=[server], backend=ScriptedBackend(script))
        async with agent.stream("work") as events:
            progress = [one async for one in events if isinstance(one, CallProgress)]
    assert [(one.done, one.total) for one in progress] == [(1, 2), (2, 2)]


async def test_resources_and_prompts_are_read(everything: tuple[str, ...]) -> None:
    async with mcp_toolset(*everything, include=["echo"], resources=True) as server:
        assert names(server) == ["echo", "list_resources", "read_resource"]
        listed = json.loads((await made(server, "list_resources")).content)
        pattern = "demo://resource/dynamic/text/{resourceId}"
        assert pattern in [one["uri"] for one in listed if one.get("pattern")]
        one = await made(server, "read_resource", uri=pattern.format(resourceId=7))
        assert one.content.startswith("Resource 7: ")
        missing = await made(server, "read_resource", uri="demo://nowhere")
        assert missing.is_error
        assert "demo://nowhere not found" in missing.content
        prompts = {prompt.name: prompt for prompt in await server.prompts()}
        city = prompts["args-prompt"]
        assert city == Prompt("args-prompt", city.description, {"city": True, "state": False})
        history = await server.prompt("args-prompt", city="Rome")
        assert history == (UserMessage("What's weather in Rome?"),)
        with pytest.raises(ServerError, match="nope not found"):
            await server.prompt("nope")


async def test_the_filesystem_server_keeps_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    async with mcp_toolset(reference_server("filesystem"), tmp_path) as server:
        waiting = [tool.name for tool in server if tool.approval]
        assert waiting == ["write_file", "edit_file", "move_file"]  # the server says: destructive
        read = await made(server, "read_text_file", path=str(tmp_path / "a.txt"), head=1)
        assert read.content == "one"
        outside = await made(server, "read_text_file", path="/etc/passwd")
        assert outside.is_error
        assert "Access denied" in outside.content
        script = (call("write_file", path=str(tmp_path / "b.txt"), content="new"), answer("ok"))
        agent = Agent(tools=[server], backend=ScriptedBackend(script))
        assert (await agent.run("write")).status == "paused"
    assert not (tmp_path / "b.txt").exists()


async def test_a_server_is_reached_by_http_and_again_when_it_was_started_anew() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    texts: list[str] = []
    process = await listening_at(port)
    try:
        async with mcp_toolset(url=f"http://127.0.0.1:{port}/mcp", include=["echo"]) as server:
            texts.append((await made(server, "echo", message="one")).content)
            await killed(process)
            assert (await made(server, "echo", message="two")).is_error
            process = await listening_at(port)
            # a server that forgot the session may say so by any error, once
            texts += [(await made(server, "echo", message="three")).content for _ in range(2)]
    finally:
        await killed(process)
    assert (texts[0], texts[-1]) == ("Echo: one", "Echo: three")


async def listening_at(port: int) -> Process:
    """The everything server, once it listens for streamable HTTP."""
    process = await anyio.open_process(
        [reference_server("everything"), "streamableHttp"],
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
    )
    assert process.stderr is not None
    with anyio.fail_after(30):
        while b"listening" not in await process.stderr.receive():
            pass
    return process


async def killed(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.aclose()


async def test_arguments_that_the_engine_fills_in_are_accepted_by_the_server(
    everything: tuple[str, ...], engine: Engine
) -> None:
    from agentkit_engine import Template

    wanted = ["echo", "get-sum", "get-annotated-message", "get-structured-content"]
    async with mcp_toolset(*everything, include=wanted) as server:
        calls: list[ScriptedCall] = []
        for tool in server:
            session = engine.session()
            await session.extend("do something")
            filling = await session.infill(Template.json_schema(tool.parameters), verify="off")
            calls.append(ScriptedCall(tool.name, dict(filling.value)))
        agent = Agent(tools=[server], backend=ScriptedBackend((calls, answer("done"))))
        result = await agent.run("do something")
    assert {one.tool for one in result.calls} == {*wanted}
    assert not any(one.is_error for one in result.results)


# --- a server at its worst


async def test_tools_are_listed_over_pages_under_names_that_tools_may_have(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with mcp_toolset(*PEER, prefix="p_") as peer:
        assert peer.instructions == "Be kind."
        assert {"p_echo", "p_where", "p_dotted_name_x"} <= {*names(peer)}
        assert "p_broken" not in names(peer)
        assert "p_never" not in names(peer)
        dotted = await made(peer, "p_dotted_name_x")
        taken = await made(peer, "p_context", context="a", self="b")
    assert dotted.content == "{}"
    assert json.loads(taken.content) == {"context": "a", "self": "b"}
    assert "tool 'broken' of the MCP server" in caplog.text
    assert "tool 'never' of the MCP server" in caplog.text


async def test_what_the_grammar_refuses_is_checked_before_the_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("numpy")
    async with mcp_toolset(*PEER, include=["twice"]) as peer:
        [tool] = peer
        assert tool.parameters["properties"]["word"] == {
            "type": "string",
            "description": 'A word. (pattern: "^(ab|cd)\\\\1$")',
        }
        [loosened] = peer.loosened["twice"]
        assert (loosened.keyword, loosened.pointer) == ("pattern", "/properties/word")
        assert not (await made(peer, "twice", word="abab")).is_error
        wrong = await made(peer, "twice", word="abcd")
        assert wrong.is_error
        assert "/word: 'abcd' does not match" in wrong.content
    assert "the keyword 'pattern' at '/properties/word' is checked" in caplog.text


async def test_a_lost_server_fails_the_call_under_way_and_is_started_anew_by_the_next(
    tmp_path: Path,
) -> None:
    failed: dict[str, str] = {}
    async with noted(tmp_path) as (peer, notes):

        async def fail(tool: str) -> None:
            result = await made(peer, tool)
            assert result.is_error
            failed[tool] = result.content

        async with anyio.create_task_group() as group:
            group.start_soon(fail, "hang")
            await written(notes, "hanging")
            group.start_soon(fail, "die")
        assert BROKEN_OFF in failed["hang"]
        assert f"{BROKEN_OFF}; it said: out of cheese" in failed["die"]
        assert (await made(peer, "echo", text="hi")).content == '{"text": "hi"}'
        assert notes.read_text().count("began") == 2


async def test_a_server_that_keeps_dying_is_left_alone() -> None:
    async with mcp_toolset(*PEER, restarts=2) as peer:
        for _ in range(3):
            assert BROKEN_OFF in (await made(peer, "die")).content
        left = await made(peer, "echo", text="hi")
    assert "was started 3 times in vain and is left alone for a minute" in left.content


async def test_a_call_that_is_given_up_is_cancelled_at_the_server(tmp_path: Path) -> None:
    async with noted(tmp_path) as (peer, notes):
        await written(notes, "level warning")
        with anyio.move_on_after(0.2):
            await made(peer, "hang")
        await written(notes, "cancelled")
        assert (await made(peer, "echo", text="hi")).content == '{"text": "hi"}'


async def test_a_call_past_its_time_is_given_up() -> None:
    async with mcp_toolset(*PEER, timeout=0.2) as peer:
        late = await made(peer, "hang")
    assert late.is_error
    assert "did not finish within 0.2 s" in late.content


async def test_new_tools_are_there_for_the_next_run() -> None:
    async with mcp_toolset(*PEER) as peer:
        before = Agent(tools=[peer])
        await made(peer, "grow")
        await become(lambda: "grown" in names(peer))
        after = Agent(tools=[peer])
        assert {one.name for one in after.tools} - {one.name for one in before.tools} == {"grown"}
        assert not (await made(peer, "grown")).is_error


async def test_what_the_server_says_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agentkit.mcp")
    async with mcp_toolset(*PEER) as peer:
        await made(peer, "log")
        await made(peer, "garbage")
        await made(peer, "die")
        await made(peer, "echo", text="hi")
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("WARNING", 'peer: {"mice": 3}') in told
    assert any(text.endswith(": out of cheese") for _, text in told)
    assert any("wrote what is no message" in text for level, text in told if level == "WARNING")


async def test_a_failure_that_the_server_tells_is_an_error_result() -> None:
    async with mcp_toolset(*PEER) as peer:
        result = await made(peer, "fail")
    assert result.is_error
    assert "ServerError: no such thing" in result.content


async def test_a_wrong_answer_is_no_loss_of_the_server(tmp_path: Path) -> None:
    async with noted(tmp_path) as (peer, notes):
        odd, shapeless = await made(peer, "odd"), await made(peer, "shapeless")
        assert "ServerError: an odd day" in odd.content
        assert "ServerError: it answered what it should not" in shapeless.content
        assert not (await made(peer, "echo", text="hi")).is_error
        assert notes.read_text().count("began") == 1


async def test_a_process_gets_the_environment_it_is_given_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    async with mcp_toolset(*PEER, env={"PEER": "mine"}, cwd=tmp_path) as peer:
        assert (await made(peer, "where")).content == f"{tmp_path} mine "


async def test_any_task_may_call_and_calls_run_side_by_side() -> None:
    async with mcp_toolset(*PEER) as peer:
        said: list[str] = []

        async def one(text: str) -> None:
            said.append((await made(peer, "echo", text=text)).content)

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(one, str(number))
    assert sorted(json.loads(text)["text"] for text in said) == sorted(map(str, range(20)))


async def test_tools_outlive_their_server_with_a_clear_error() -> None:
    async with mcp_toolset(*PEER) as peer:
        pass
    with anyio.fail_after(10):
        late = await made(peer, "echo", text="hi")
    assert "was left: use its tools within the block" in late.content


async def test_another_event_loop_is_refused() -> None:
    async with mcp_toolset(*PEER) as peer:
        late = await anyio.to_thread.run_sync(
            lambda: anyio.run(lambda: made(peer, "echo", text="hi"))
        )
    assert "was opened in another event loop" in late.content


# --- definitions


@pytest.mark.parametrize(
    ("command", "options", "why"),
    [
        ((), {}, "a command or a URL"),
        (("x",), {"url": "http://localhost"}, "a command or a URL"),
        (("x",), {"headers": {}}, "'headers' says nothing of an MCP server that is a command"),
        ((), {"url": "http://localhost", "cwd": "."}, "'cwd' says nothing of"),
        ((), {"url": "file:///etc"}, "is no http:// or https:// address"),
        (("x",), {"include": "read"}, "give a list of names or patterns"),
    ],
)
async def test_slips_are_told(command: tuple[str, ...], options: Any, why: str) -> None:
    with pytest.raises(DefinitionError, match=why):
        async with mcp_toolset(*command, **options):
            raise AssertionError("it is opened")


@pytest.mark.parametrize(
    ("command", "options", "why"),
    [
        (("no such command",), {}, "can't be reached: .*No such file"),
        ((sys.executable, "-c", "import nothing"), {}, "it ended; it said: .*No module named"),
        (
            (sys.executable, "-c", "import sys; sys.stdin.read()"),
            {"connect_timeout": 0.3},
            "no session within 0.3 s",
        ),
        (PEER, {"include": ["ech"]}, "include='ech' fits no tool of the server; it has: 'broken'"),
        ((), {"url": "http://127.0.0.1:9/mcp"}, "can't be reached"),
    ],
)
async def test_a_server_that_can_not_be_used_is_told(
    command: tuple[str, ...], options: Any, why: str
) -> None:
    with pytest.raises(PluginError, match=f"(?s){why}"):
        async with mcp_toolset(*command, **options):
            raise AssertionError("it is opened")


# --- schemas and contents


def of(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, "required": ["a"]}


TWICE = {"type": "string", "pattern": "(.)\\1"}


@pytest.mark.parametrize(
    ("schema", "left", "loosened"),
    [
        ({"type": "string", "minLength": 2}, None, []),
        (TWICE, {"type": "string", "description": '(pattern: "(.)\\\\1")'}, ["pattern"]),
        ({"$ref": "http://example.com/x"}, {}, ["$ref"]),
        ({"type": "string", "not": TWICE}, None, ["not"]),
        ({"if": TWICE, "then": {"maxLength": 3}, "else": False}, None, ["if"]),
        ({"oneOf": [TWICE, {"type": "integer"}]}, None, ["pattern"]),
        ({"type": "string", "minLength": 900_000}, None, ["minLength"]),
        ({"type": "object", "properties": {"not": TWICE}}, None, ["pattern"]),
    ],
)
def test_as_little_as_possible_is_loosened(
    schema: dict[str, Any], left: dict[str, Any] | None, loosened: list[str]
) -> None:
    pytest.importorskip("numpy")
    found = relaxed(of(schema))
    assert [one.keyword for one in found.loosened] == loosened
    if left is not None:
        assert found.schema == of(left)
    assert found.schema["required"] == ["a"]


def test_loosening_never_refuses_what_the_schema_allows() -> None:
    pytest.importorskip("numpy")
    schema = of({"oneOf": [TWICE, {"type": "string", "minLength": 1}]})
    read = JsonSchema(relaxed(schema).schema, "it").read
    assert read('{"a": "x"}') == {"a": "x"}  # fits both branches, now that one is loosened
    patterned = {"patternProperties": {"(.)\\1": {}}, "additionalProperties": False}
    assert JsonSchema(relaxed(patterned).schema, "it").read('{"aa": 1}') == {"aa": 1}


def test_a_schema_that_nothing_satisfies_is_an_error() -> None:
    pytest.importorskip("numpy")
    with pytest.raises(TemplateError, match="no valid value exists"):
        relaxed(of({"enum": []}))


def test_nothing_that_a_schema_refers_to_is_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        port = listening.getsockname()[1]
        schema = JsonSchema(of({"$ref": f"http://127.0.0.1:{port}/x"}), "it")
        with pytest.raises(Unresolvable):
            schema.read('{"a": 1}')
        with pytest.raises(BlockingIOError):  # nobody came
            listening.accept()


def text_block(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


@pytest.mark.parametrize(
    ("content", "structured", "text"),
    [
        ([], {"a": 1}, '{"a":1}'),
        (['{"a": 1}'], {"a": 1}, '{"a": 1}'),
        (["one\ntwo"], {"content": "one\ntwo"}, "one\ntwo"),
        (["Done."], {"id": 7}, 'Done.\n{"id":7}'),
        (["1", "2"], None, "1\n2"),
        ([], None, ""),
    ],
)
def test_structured_results_are_said_once(content: list[str], structured: Any, text: str) -> None:
    blocks: list[types.ContentBlock] = [text_block(one) for one in content]
    result = types.CallToolResult(content=blocks, structured_content=structured)
    assert result_text(result) == text


def test_audio_is_told_as_what_it_is() -> None:
    data = base64.b64encode(bytes(20_000)).decode()
    audio = types.AudioContent(type="audio", data=data, mime_type="audio/wav")
    told = result_text(types.CallToolResult(content=[audio]))
    assert told == "[audio, audio/wav, 20 kB; not shown]"


def test_what_is_loosened_is_told_with_its_place() -> None:
    pytest.importorskip("numpy")
    [one] = relaxed({"properties": {"x/y": TWICE}}).loosened
    assert one == Loosened("pattern", "/properties/x~1y", one.why)
