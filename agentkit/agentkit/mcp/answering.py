"""What a server answers: its tools, and calls of them.

Knows tools, agents and how a single call is run; asks the client's human about calls that need
approval. Must not know transports. What a tool does wrong is its result, never an error of the
protocol.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, cast

import anyio
import anyio.from_thread
import anyio.lowlevel
import mcp_types as types
from mcp import MCPError
from mcp.server import ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from agentkit.agent import Agent
from agentkit.backend import Decision, ProposedCall
from agentkit.context import RunContext
from agentkit.defining.tool import AnyTool, tool
from agentkit.defining.toolset import Toolset, as_tools
from agentkit.errors import DefinitionError
from agentkit.event import CallFilled, CallProgress, Event
from agentkit.message import Call, History
from agentkit.policies.condition import Proposal
from agentkit.result import Approve, Deny, Pending, Verdict
from agentkit.running.performing import perform
from agentkit.running.writing import as_json, shortened

_MAX_SHOWN = 2000  # characters of a call's arguments that a human is shown
_ANSWER = "approval"  # the key of the one thing that a client is asked for
_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {"approve": {"type": "boolean", "title": "Make this call?"}},
    "required": ["approve"],
}
_log = logging.getLogger("agentkit.mcp")


class Answers:
    """The tools of a server, and its answers.

    approve: the tools that may be called though they need approval, as names or patterns.
    """

    def __init__(
        self,
        toolsets: Sequence[AnyTool | Toolset | Callable[..., Any]],
        *,
        agents: Sequence[Agent[Any, Any]],
        approve: Sequence[str],
        deps: Any,
    ) -> None:
        """
        Raises:
            DefinitionError: two tools have the same name, or `approve` names none that needs it.
        """
        offered = as_tools([*toolsets, *(asking(agent, deps) for agent in agents)])
        for one in offered:
            if one.deferred:
                _log.warning("tool %r is finished elsewhere and not offered over MCP", one.name)
        self._tools = {one.name: one for one in offered if not one.deferred}
        self._approve, self._deps = tuple(approve), deps
        self._one_at_a_time = anyio.Lock()
        waiting = [one.name for one in self._tools.values() if _may_wait(one)]
        for pattern in self._approve:
            if pattern != "*" and not any(fnmatchcase(name, pattern) for name in waiting):
                raise DefinitionError(
                    f"{pattern!r} is to be approved, and fits no tool that needs it; these do: "
                    f"{', '.join(map(repr, waiting)) or 'none'}"
                )

    async def listed(
        self, _: ServerRequestContext[Any], __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        """All tools, on one page."""
        return types.ListToolsResult(tools=[_told(one) for one in self._tools.values()])

    async def called(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        """Make a call and wait for its end; a client that cancels it cancels the tool."""
        one = self._tools.get(params.name)
        if one is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name!r}")
        if self._waits(one, params):
            verdict = await _asked(context, params)
            if isinstance(verdict, types.InputRequiredResult):
                return verdict
            if isinstance(verdict, Deny):
                return _result(verdict.why, is_error=True)
        if not one.sequential:
            return await self._performed(one, context, params)
        async with self._one_at_a_time:
            return await self._performed(one, context, params)

    def _waits(self, one: AnyTool, params: types.CallToolRequestParams) -> bool:
        """Whether a call needs approval that the server was not started with."""
        if not _may_wait(one) or any(fnmatchcase(one.name, name) for name in self._approve):
            return False
        if one.approval or one.approval_when is None:
            return True
        proposed = ProposedCall(one.name, params.arguments or {})
        context = RunContext[Any](deps=self._deps, agent="mcp")
        try:
            return one.approval_when.test(Proposal(context, Decision((proposed,)), proposed))
        except Exception:  # it may read what only a model's decision has
            _log.exception("whether %r needs approval can't be told, so it does", one.name)
            return True

    async def _performed(
        self, one: AnyTool, asked: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        call = Call(str(asked.request_id), one.name, params.arguments or {})
        inside = _Inside(asked)
        context = RunContext[Any](deps=self._deps, agent="mcp", call=call, run=inside)
        try:
            outcome = await perform(call, self._tools, context)
        finally:
            inside.over = True  # a plain function in its thread may go by that
        if outcome.result is None:
            return _result(f"{one.name} is finished elsewhere, later.", is_error=True)
        return _result(outcome.result.content, is_error=outcome.result.is_error)


def asking(agent: Agent[Any, Any], deps: Any = None) -> AnyTool:
    """An agent as a tool, `ask_NAME(request)`, which tells its progress.

    Raises:
        DefinitionError: the agent's name is no tool name.
    """

    async def ask(
        context: RunContext[Any], request: Annotated[str, "What is wanted, in plain words."]
    ) -> Any:
        async def tell(event: Event) -> None:
            if isinstance(event, CallFilled):
                await context.report(f"calls {event.call.tool}")
            elif isinstance(event, CallProgress):
                await context.report(f"{event.call.tool}: {event.message}")

        approve = None if context.run is None else context.run.approve
        result = await agent.run(request, deps=deps, approve=approve, on_event=tell)
        if result.status == "asked":
            return f"{agent.name} asks back: {result.answer}"
        if result.pending:
            names = ", ".join(sorted({one.call.tool for one in result.pending}))
            raise ValueError(f"{agent.name} needs approval of {names}, which nobody here can give")
        return result.output

    said = agent.description or f"Ask {agent.name}, an agent, in plain words."
    return tool(ask, name=f"ask_{agent.name}", description=said, timeout=None)


class _Inside:
    """The run that a call made over the protocol belongs to: there is none but the call itself.

    It reports to the client, and has it ask its human what an agent's tools need approval for.
    """

    history: History = ()

    def __init__(self, asked: ServerRequestContext[Any]) -> None:
        self._asked = asked
        self._loop = anyio.lowlevel.current_token()
        self._reached = 0.0
        self.over = False
        self.approve = self._approved if _reaches_a_human(asked) and not _modern(asked) else None

    async def report(
        self, call: Call, message: str, done: float | None, total: float | None
    ) -> None:
        """Tell the client; the protocol wants a number that grows with each."""
        self._reached = self._reached + 1 if done is None else done
        await self._asked.session.report_progress(self._reached, total, message or None)

    def report_from_thread(
        self, call: Call, message: str, done: float | None, total: float | None
    ) -> None:
        anyio.from_thread.run(self.report, call, message, done, total, token=self._loop)

    async def _approved(self, _: RunContext[Any], pending: Pending) -> Verdict:
        answer = await _elicited(self._asked, pending.call.tool, pending.call.arguments)
        return _verdict(answer)


async def _asked(
    asked: ServerRequestContext[Any], params: types.CallToolRequestParams
) -> Verdict | types.InputRequiredResult:
    """What the client's human says of a call; or what to answer so that they are asked."""
    if not _reaches_a_human(asked):
        return Deny(
            f"{params.name} needs approval and this client has nobody to ask. Whoever runs the "
            f"server can allow it with --approve {params.name}."
        )
    arguments = params.arguments or {}
    if not _modern(asked):
        return _verdict(await _elicited(asked, params.name, arguments))
    # Newer clients are answered what is missing, and call again with it.
    answer = (params.input_responses or {}).get(_ANSWER)
    if answer is not None:
        return _verdict(answer)
    question = types.ElicitRequest(
        params=types.ElicitRequestFormParams(
            message=_question(params.name, arguments), requested_schema=_FORM
        )
    )
    return types.InputRequiredResult(input_requests={_ANSWER: question})


async def _elicited(
    asked: ServerRequestContext[Any], name: str, arguments: dict[str, Any]
) -> types.ElicitResult:
    return await asked.session.elicit_form(
        _question(name, arguments), _FORM, related_request_id=asked.request_id
    )


def _verdict(answer: object) -> Verdict:
    said = answer.content or {} if isinstance(answer, types.ElicitResult) else {}
    accepted = isinstance(answer, types.ElicitResult) and answer.action == "accept"
    if accepted and said.get("approve") is True:
        return Approve()
    return Deny("The user denied this call.")


def _question(name: str, arguments: dict[str, Any]) -> str:
    return f"Call {name} with {shortened(as_json(arguments), _MAX_SHOWN)}?"


def _reaches_a_human(asked: ServerRequestContext[Any]) -> bool:
    has = asked.session.client_capabilities
    if has is None or has.elicitation is None:
        return False
    return has.elicitation.form is not None or has.elicitation.url is None


def _modern(asked: ServerRequestContext[Any]) -> bool:
    return asked.protocol_version in MODERN_PROTOCOL_VERSIONS


def _may_wait(one: AnyTool) -> bool:
    return one.approval or one.approval_when is not None


def _told(one: AnyTool) -> types.Tool:
    waits = _may_wait(one)
    hints = types.ToolAnnotations(
        read_only_hint=True if one.pure else None, destructive_hint=True if waits else None
    )
    return types.Tool(
        name=one.name,
        description=one.description,
        input_schema=one.parameters,
        annotations=hints if one.pure or waits else None,
    )


def _result(text: str, *, is_error: bool) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content=None if is_error else _structured(text),
        is_error=is_error,
    )


def _structured(text: str) -> dict[str, Any] | None:
    """What a result holds, for clients that read more than text."""
    if not text.startswith("{"):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None
