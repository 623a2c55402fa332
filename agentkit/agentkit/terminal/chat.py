"""The command `agentkit chat`: an agent that answers one message after another.

Knows who types and the session; every drawing, every command and every approval is another's.
"""

from __future__ import annotations

import argparse
from functools import partial

from platformdirs import user_data_path, user_state_path
from rich.console import Console
from rich.text import Text

from agentkit.errors import StoreError
from agentkit.result import Resume
from agentkit.stores.sqlite import SQLiteStore
from agentkit.terminal.commands import COMMANDS, Leave, follow
from agentkit.terminal.event_loop import EventLoop
from agentkit.terminal.options import add_agent_options, agent_of, deps_of, settings_of
from agentkit.terminal.reading import Reader
from agentkit.terminal.session import Session, tell

PROMPT = "> "


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `agentkit chat` takes."""
    add_agent_options(parser)
    parser.add_argument(
        "--conversation",
        metavar="NAME",
        help="keep the conversation under this name, and go on with it the next time",
    )


def run(arguments: argparse.Namespace) -> int:
    """Answer what is typed until the input ends."""
    with EventLoop() as loop:
        session = _session(arguments, loop)
        session.load()
        return _chat(session)


def _session(arguments: argparse.Namespace, loop: EventLoop) -> Session:
    agent, deps = agent_of(arguments, loop), deps_of(arguments)
    console = Console()
    reader = Reader(
        console,
        history=user_state_path("agentkit", appauthor=False) / "chat_history",
        completions=tuple(COMMANDS),
    )
    return Session(
        agent,
        loop=loop,
        reader=reader,
        console=console,
        deps=deps,
        settings=settings_of(arguments),
        store=None if arguments.conversation is None else _store(),
        key=arguments.conversation or "",
    )


def _chat(session: Session) -> int:
    console = session.console
    console.print(Text("Ctrl-C stops an answer, Ctrl-D leaves, /help says more.", style="dim"))
    if session.history:
        console.print(Text(f"{len(session.history)} messages so far", style="dim"))
    if session.waiting and not tell(console, lambda: session.ask(Resume({}))):
        return 0
    while (line := _line(session)) is not None:
        text = line.strip()
        try:
            if line.startswith("/"):
                follow(session, text)
            elif text and not tell(console, partial(session.ask, text)):
                return 0
        except Leave:
            return 0
    return 0


def _line(session: Session) -> str | None:
    """The next line; one that is given up by Ctrl-C is an empty one."""
    try:
        return session.reader.message(PROMPT)
    except KeyboardInterrupt:
        session.console.print()
        return ""


def _store() -> SQLiteStore:
    path = user_data_path("agentkit", appauthor=False) / "conversations.sqlite3"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"no conversation can be kept in {str(path.parent)!r}: {error.strerror}; leave "
            "--conversation out, or let that folder be written to"
        ) from error
    return SQLiteStore(path)
