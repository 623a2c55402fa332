"""Calls one tool as a run does, without an agent: `agentkit tools call`.

Knows toolsets and how calls are performed. Must not know commands, nor where toolsets come from.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from agentkit.context import RunContext
from agentkit.defining.tool import AnyTool
from agentkit.defining.toolset import Toolset
from agentkit.errors import AgentKitError
from agentkit.message import Call, History, ResultMessage
from agentkit.running.performing import perform


def arguments_of(text: str) -> dict[str, Any]:
    """A call's arguments, as the command line has them.

    Raises:
        AgentKitError: they are no JSON object; says where.
    """
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise AgentKitError(f"the arguments are no JSON: {error}; mend it there") from error
    if not isinstance(value, dict):
        raise AgentKitError(
            f"the arguments are a JSON {type(value).__name__}; give an object, with a value for "
            "each argument, as in '{\"a\": 1}'"
        )
    return cast("dict[str, Any]", value)


def tool_named(name: str, toolsets: Sequence[Toolset], closed: Sequence[str] = ()) -> AnyTool:
    """The tool that is meant by TOOL, or by PLUGIN.TOOL where several have one of that name.

    closed: plugins that could not be opened, whose tools are not known.

    Raises:
        AgentKitError: there is none, or several; names what there is.
    """
    named = {f"{toolset.name}.{one.name}": one for toolset in toolsets for one in toolset}
    if name in named:
        return named[name]
    found = [full for full in named if full.partition(".")[2] == name]
    if len(found) > 1:
        raise AgentKitError(f"several tools are named {name!r}; say which: {', '.join(found)}")
    if found:
        return named[found[0]]
    close = difflib.get_close_matches(name, [*named, *(one.name for one in named.values())], n=1)
    mend = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(named) or 'none'}"
    if closed:
        mend += f"; not open: {', '.join(closed)} (`agentkit tools` tells why)"
    raise AgentKitError(f"no tool is named {name!r}; {mend}")


async def call_tool(tool: AnyTool, arguments: Mapping[str, Any]) -> ResultMessage:
    """Validate the arguments, make the call within its time, and give back what came of it.

    Raises:
        AgentKitError: the call is finished elsewhere, so nothing comes of it here.
    """
    call = Call("call_1", tool.name, dict(arguments))
    context = RunContext[Any](deps=None, agent="agentkit tools call", call=call, run=_Told())
    outcome = await perform(call, {tool.name: tool}, context)
    if outcome.result is None:
        note = outcome.pending.why if outcome.pending is not None else ""
        raise AgentKitError(f"{tool.name!r} is finished elsewhere" + (f": {note}" if note else ""))
    return outcome.result


class _Told:
    """A run of one call: what it reports is written to the standard error."""

    history: History = ()
    over = False
    approve = None

    async def report(
        self, call: Call, message: str, done: float | None, total: float | None
    ) -> None:
        self.report_from_thread(call, message, done, total)

    def report_from_thread(
        self, call: Call, message: str, done: float | None, total: float | None
    ) -> None:
        far = "" if done is None else f" {done:g}" + ("" if total is None else f" of {total:g}")
        print(f"{call.tool}: {message}{far}", file=sys.stderr, flush=True)
