"""Options that several commands take, and the agent that they ask for.

Knows command lines and where agents come from. Must not know what is asked of an agent.
"""

from __future__ import annotations

import argparse
from typing import Any, Literal

from agentkit.agent import Agent
from agentkit.backend import ModelSettings
from agentkit.defining.opening import open_tools
from agentkit.errors import AgentKitError
from agentkit.terminal.event_loop import EventLoop
from agentkit.terminal.loading import FORM, load_agent, load_deps


def add_agent_options(parser: argparse.ArgumentParser) -> None:
    """AGENT, and what may be said of it."""
    parser.add_argument(
        "agent",
        metavar="AGENT",
        nargs="?",
        help=f"the agent, as {FORM} (default: one that has all installed tools)",
    )
    parser.add_argument(
        "--deps",
        metavar="NAME",
        help="what the agent's runs are given: a value beside AGENT, or a function that makes it",
    )
    parser.add_argument(
        "--tools",
        metavar="NAMES",
        type=names,
        help="without AGENT: tool plugins to use, separated by commas (default: all "
        "but those that are opened only where they are named)",
    )
    parser.add_argument(
        "--steps",
        metavar="N",
        type=_steps,
        help="denoise steps a turn may take, or auto (default: the agent's)",
    )
    parser.add_argument(
        "--backend",
        metavar="embedded|openai:MODEL[@URL]|URL",
        help="the model: the embedded one, one of an OpenAI-compatible server, or the one that an "
        "`agentkit serve` has (default: the agent's)",
    )


def agent_of(arguments: argparse.Namespace, loop: EventLoop) -> Agent[Any, Any]:
    """The agent that a command line asks for; the plugins it uses stay open as long as `loop`.

    Raises:
        AgentKitError: there is none, or what is said of it does not go together.
    """
    backend = arguments.injected or arguments.backend
    if arguments.agent is None:
        if arguments.deps is not None:
            raise AgentKitError(
                f"--deps {arguments.deps!r} belongs to an agent; name one, as {FORM}"
            )
        toolsets = loop.open(open_tools(arguments.tools))
        return Agent(tools=toolsets, backend=backend or "embedded")
    if arguments.tools is not None:
        raise AgentKitError("AGENT has tools of its own; leave --tools out, or AGENT")
    agent = load_agent(arguments.agent)
    return agent if backend is None else agent.with_backend(backend)


def deps_of(arguments: argparse.Namespace) -> Any:
    """What a command line wants the agent's runs to be given."""
    return None if arguments.deps is None else load_deps(arguments.agent, arguments.deps)


def settings_of(arguments: argparse.Namespace) -> ModelSettings:
    """What a command line asks of decisions."""
    return ModelSettings(steps=arguments.steps)


def names(text: str) -> list[str]:
    """Names with commas between them, as an option says them."""
    return [name for part in text.split(",") if (name := part.strip())]


def _steps(text: str) -> int | Literal["auto"]:
    return "auto" if text == "auto" else positive(text)


def positive(text: str) -> int:
    """A number above 0, as an option says it."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number
