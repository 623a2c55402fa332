"""The command line: `agentkit COMMAND`.

Knows which commands there are and how errors are told; each command is a module of its own, with
`add_options(parser)` and `run(arguments)`, imported when it is asked for.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from agentkit.backend import Backend
from agentkit.errors import AgentKitError
from agentkit.message import dump_messages
from agentkit.terminal.failures import is_own, told

DISTRIBUTION = "agentkit-diffusion"
INTERRUPTED = 130  # what a shell reports for a process that ended by Ctrl-C


@dataclass(frozen=True, slots=True)
class Command:
    """A command's module.

    does: in a few words. run: the module's function that follows it. extra: of ours, that it needs.
    nested: whether it has commands of its own.
    """

    module: str
    does: str
    run: str = "run"
    extra: str = "engine"
    nested: bool = False


COMMANDS: Mapping[str, Command] = {
    "run": Command("agentkit.terminal.run", "answer one request"),
    "chat": Command("agentkit.terminal.chat", "answer one message after another"),
    "new": Command("agentkit.terminal.new", "make a starter project"),
    "eval": Command("agentkit.terminal.evaluate", "measure an agent on a file of cases"),
    "serve": Command(
        "agentkit_engine.server.command", "serve a model to agents elsewhere", "serve", "server"
    ),
    "tools": Command(
        "agentkit.terminal.tools",
        "list, show, check and call the installed tools",
        extra="terminal",
        nested=True,
    ),
    "mcp": Command("agentkit.terminal.mcp", "serve tools over MCP", extra="mcp", nested=True),
    "schema": Command("agentkit.terminal.schemas", "try a JSON Schema out", nested=True),
}


def main(argv: Sequence[str] | None = None, *, backend: Backend | None = None) -> int:
    """Run a command and return the exit status: 0, 1 for an error told, 2 for wrong usage.

    argv: the arguments without the program's name; those of the process by default.
    backend: takes the place of the one that `--backend` names.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    arguments = argparse.Namespace(json=False, injected=backend)
    try:
        if not given or given[0] not in COMMANDS:
            _overview().parse_args(given)
        command = COMMANDS[given[0]]
        with _needs(command):
            module = importlib.import_module(command.module)
            _parse(given[0], command, module.add_options, given[1:], arguments)
            status: int = getattr(module, command.run)(arguments)
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # who reads has enough, as `head` does; Python would say so at exit too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not (isinstance(error, AgentKitError) or is_own(error)):
            raise  # a mistake of ours
        if arguments.json:
            print(json.dumps(describe_error(error), ensure_ascii=False))
        else:
            print("agentkit:", describe_error(error)["error"]["message"], file=sys.stderr)
        return 1


def describe_error(error: Exception) -> dict[str, Any]:
    """An error as a JSON object, with the messages of the run that it ended."""
    said = str(error) if isinstance(error, AgentKitError) else told(error)
    message = " ".join([said, *getattr(error, "__notes__", ())])
    described: dict[str, Any] = {"type": type(error).__name__, "message": message}
    if history := getattr(error, "history", ()):
        described["messages"] = json.loads(dump_messages(history))
    return {"error": described}


def _overview() -> argparse.ArgumentParser:
    """Knows all commands by name, and none of their options."""
    parser = argparse.ArgumentParser(
        prog="agentkit", description="Agents whose tool calls are filled in one denoise."
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.does)
    return parser


def _parse(
    name: str,
    command: Command,
    add_options: Callable[[argparse.ArgumentParser], None],
    given: Sequence[str],
    arguments: argparse.Namespace,
) -> None:
    """Read a command's options into `arguments`."""
    said = f"{command.does[0].upper()}{command.does[1:]}."
    parser = argparse.ArgumentParser(prog=f"agentkit {name}", description=said)
    add_options(parser)
    if command.nested:
        parser.parse_args(given, arguments)
    else:  # options may stand between AGENT and what follows it
        parser.parse_intermixed_args(given, arguments)


@contextmanager
def _needs(command: Command) -> Generator[None]:
    """What a command lacks is told with the extra that brings it."""
    try:
        yield
    except ImportError as error:
        if is_own(error):  # something that a file of the user's imports
            raise
        raise AgentKitError(
            f"this command needs what is not installed: {error}; "
            f"install it with `pip install '{DISTRIBUTION}[{command.extra}]'`"
        ) from error


class _Version(argparse.Action):
    """Looks the version up only when it is asked for; reading metadata takes its time."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *args: object) -> None:
        from importlib.metadata import version

        print(f"agentkit {version(DISTRIBUTION)}")
        parser.exit()
