"""The command line: `agentkit run`, `agentkit chat`, `agentkit tools`, `agentkit schema`.

Knows agents and their events; every drawing is `agentkit.drawing`'s, every decision the agent's.
What is slow to import (rich) is imported by the command that needs it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anyio

from agentkit.agent import Agent
from agentkit.backend import Backend
from agentkit.errors import AgentKitError, BackendError, ContextTooLong
from agentkit.message import History, dump_messages
from agentkit.result import RunResult
from agentkit.stream import EventStream
from agentkit.toolset import discover, load_toolsets

if TYPE_CHECKING:
    from rich.console import Console

    from agentkit.drawing import Screen

DISTRIBUTION = "agentkit-diffusion"
INTERRUPTED = 130  # what a shell reports for a process that ended by Ctrl-C
LEAVE = {"exit", "quit"}


def main(argv: Sequence[str] | None = None, *, backend: Backend | None = None) -> int:
    """Run a command and return the exit status: 0, 1 for an error told, 2 for wrong usage.

    argv: the arguments without the program's name; those of the process by default.
    backend: takes the place of the one that `--backend` names.
    """
    arguments = _parser().parse_args(argv)
    try:
        match arguments.command:
            case "run":
                return _run(arguments, backend)
            case "chat":
                return _chat(arguments, backend)
            case "schema":
                return _schema(arguments)
            case _:
                return _tools()
    except AgentKitError as error:
        if getattr(arguments, "json", False):
            print(json.dumps(describe_error(error), ensure_ascii=False))
        else:
            print("agentkit:", describe_error(error)["error"]["message"], file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def describe(result: RunResult) -> dict[str, Any]:
    """A run as a JSON object: what `agentkit run --json` prints."""
    proposed = [call for decision in result.decisions for call in decision.calls]
    calls = [
        {
            "tool": call.tool,
            "arguments": call.arguments,
            "confidence": dict(proposal.confidence),
            "result": outcome.content,
            "is_error": outcome.is_error,
        }
        for call, proposal, outcome in zip(result.calls, proposed, result.results, strict=True)
    ]
    return {
        "answer": result.answer,
        "calls": calls,
        "turns": result.turns,
        "forwards": result.forwards,
        "passes": result.passes,
        "tokens": result.tokens,
        "timings_ms": {phase: round(took * 1000, 3) for phase, took in result.timings.items()},
    }


def describe_error(error: AgentKitError) -> dict[str, Any]:
    """An error as a JSON object, with the messages of the run that it ended."""
    message = " ".join([str(error), *getattr(error, "__notes__", ())])
    told: dict[str, Any] = {"type": type(error).__name__, "message": message}
    if history := _history_of(error):
        told["messages"] = json.loads(dump_messages(history))
    return {"error": told}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agentkit", description="Agents whose tool calls are filled in one denoise."
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="answer one request", parents=[_agent_options()])
    run.add_argument("request", metavar="REQUEST", help="what is asked, in plain words")
    run.add_argument("--json", action="store_true", help="print one JSON object and no drawing")
    commands.add_parser("chat", help="answer one request after another", parents=[_agent_options()])
    commands.add_parser("tools", help="list the installed tool plugins")
    _add_schema(commands.add_parser("schema", help="try a JSON Schema out"))
    return parser


def _add_schema(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="say whether schemas are supported, and how far")
    check.add_argument("files", metavar="FILE", nargs="+", help="a schema's file; - for the input")
    check.add_argument("--json", action="store_true", help="print one JSON object for each file")
    sample = actions.add_parser("sample", help="print random valid values, one JSON a line")
    sample.add_argument("file", metavar="FILE", help="the schema's file; - for the input")
    sample.add_argument(
        "-n", metavar="N", dest="count", type=_positive, default=5, help="how many (default: 5)"
    )
    sample.add_argument("--seed", metavar="N", type=int, help="the same seed, the same values")
    for action in (check, sample):
        action.add_argument(
            "--syntax",
            choices=("json", "spaced", "gemma"),
            default="json",
            help="how values are written on the canvas (default: json)",
        )


def _agent_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--tools",
        metavar="NAMES",
        type=_names,
        help="tool plugins to use, separated by commas (default: all that are installed)",
    )
    options.add_argument(
        "--steps",
        metavar="N",
        type=_positive,
        default=1,
        help="denoise steps a turn may take (default: 1)",
    )
    options.add_argument(
        "--backend",
        metavar="embedded|URL",
        default="embedded",
        help="the model: the embedded one, or a server (default: embedded)",
    )
    return options


class _Version(argparse.Action):
    """Looks the version up only when it is asked for; reading metadata takes its time."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *args: object) -> None:
        from importlib.metadata import version

        print(f"agentkit {version(DISTRIBUTION)}")
        parser.exit()


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _agent(arguments: argparse.Namespace, backend: Backend | None) -> Agent:
    if backend is None and "://" in arguments.backend:
        raise BackendError(
            f"backend {arguments.backend!r}: this version can't use a server; "
            "leave --backend out to use the embedded model"
        )
    return Agent(
        tools=load_toolsets(arguments.tools),
        backend=backend or arguments.backend,
        steps=arguments.steps,
    )


def _run(arguments: argparse.Namespace, backend: Backend | None) -> int:
    agent = _agent(arguments, backend)
    if arguments.json:
        print(json.dumps(describe(agent.run_sync(arguments.request)), ensure_ascii=False))
        return 0
    from rich.console import Console

    from agentkit.drawing import Screen

    anyio.run(_draw, agent.stream(arguments.request), Screen(Console()))
    return 0


async def _draw(events: EventStream, screen: Screen) -> None:
    """Show the events of a run as they come."""
    with screen.drawing():
        async with events:
            async for event in events:
                screen.show(event)


def _chat(arguments: argparse.Namespace, backend: Backend | None) -> int:
    from rich.console import Console

    from agentkit.drawing import Screen

    console = Console()
    agent = _agent(arguments, backend)
    history: History = ()
    console.print("Ctrl-C stops an answer, Ctrl-D leaves.", style="dim")
    while (request := _ask(console)) is not None:
        if request:
            history = _reply(agent.stream(request, history=history), Screen(console))
    return 0


def _ask(console: Console) -> str | None:
    """The next request; empty where there is none, None to leave."""
    try:
        request = console.input("[bold]> [/bold]").strip()
    except (EOFError, KeyboardInterrupt):
        console.print()
        return None
    return None if request.lower() in LEAVE else request


def _reply(events: EventStream, screen: Screen) -> History:
    """Answer one request of a chat and return the history to go on with."""
    try:
        # An event loop for each answer: asyncio turns Ctrl-C into an orderly end of the run.
        anyio.run(_draw, events, screen)
    except ContextTooLong as error:
        screen.console.print(f"{error}; the chat starts anew", style="red", markup=False)
        return ()
    except AgentKitError as error:
        screen.console.print(str(error), style="red", markup=False)
    except KeyboardInterrupt:
        screen.console.print("stopped", style="dim")
    return events.history


def _schema(arguments: argparse.Namespace) -> int:
    from agentkit import schema_cli

    if arguments.action == "check":
        return schema_cli.check(arguments.files, syntax=arguments.syntax, as_json=arguments.json)
    return schema_cli.sample(
        arguments.file, count=arguments.count, seed=arguments.seed, syntax=arguments.syntax
    )


def _history_of(error: AgentKitError) -> History:
    return getattr(error, "history", ())


def _tools() -> int:
    from rich.console import Console

    from agentkit.drawing import draw_plugins

    plugins = discover()
    Console().print(draw_plugins(plugins))
    return 1 if any(plugin.error for plugin in plugins) else 0
