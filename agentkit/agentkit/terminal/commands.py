"""What may be typed in a chat beside messages: `/help`, `/trace`, `/save FILE` and their like.

Knows the session that they look at and change. Must not know how a run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from rich.table import Table
from rich.text import Text

from agentkit.message import dump_messages, load_messages
from agentkit.terminal.drawing import draw_message, draw_tools
from agentkit.terminal.session import Session


class Refused(Exception):
    """A command can't be followed; says why and the mend."""


class Leave(Exception):
    """The chat is over."""


@dataclass(frozen=True, slots=True)
class Command:
    """takes: what is to follow its name, as the help says it; empty where nothing does."""

    does: str
    takes: str
    follow: Callable[[Session, str], None]


def follow(session: Session, line: str) -> None:
    """Do what a line that begins with / says.

    Raises:
        Leave: it says to leave.
    """
    name, _, rest = line.partition(" ")
    given = rest.strip()
    try:
        command = COMMANDS.get(name)
        if command is None:
            raise Refused(
                f"there is no command {name!r}; /help lists them, and a message that begins with / "
                "is sent with a space before it"
            )
        if bool(given) != bool(command.takes):
            needed = f"write {name} {command.takes}" if command.takes else f"write just {name}"
            raise Refused(f"{needed}: it {command.does}")
        command.follow(session, given)
    except Refused as refusal:
        session.console.print(Text(str(refusal), style="red"))


def _help(session: Session, _: str) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, command in COMMANDS.items():
        table.add_row(f"{name} {command.takes}".rstrip(), command.does)
    session.console.print(table)


def _history(session: Session, _: str) -> None:
    if not session.history:
        raise Refused("nothing was said yet")
    for message in session.history:
        for line in draw_message(message):
            session.console.print(line)


def _trace(session: Session, _: str) -> None:
    if session.result is None:
        raise Refused("no answer came to its end yet")
    # as lines that a narrow terminal may break, rather than a table that it would cut
    session.console.print(Text(str(session.result.trace())), soft_wrap=True)


def _tools(session: Session, _: str) -> None:
    if not session.agent.tools:
        raise Refused("this agent has no tools")
    session.console.print(draw_tools(session.agent.tools))


def _reset(session: Session, _: str) -> None:
    session.begin()
    session.console.print(Text("the conversation begins anew", style="dim"))


def _save(session: Session, file: str) -> None:
    try:
        Path(file).expanduser().write_text(dump_messages(session.history), "utf-8")
    except OSError as error:
        raise Refused(f"{file!r} can't be written: {error.strerror}") from error
    count = len(session.history)
    session.console.print(Text(f"saved {count} messages to {file}", style="dim"))


def _load(session: Session, file: str) -> None:
    try:
        history = load_messages(Path(file).expanduser().read_bytes())
    except OSError as error:
        raise Refused(f"{file!r} can't be read: {error.strerror}") from error
    except ValidationError as error:
        raise Refused(f"{file!r} holds no messages that /save wrote") from error
    session.begin(history)
    session.console.print(Text(f"loaded {len(history)} messages from {file}", style="dim"))


def _steps(session: Session, number: str) -> None:
    if number != "auto" and not (number.isdecimal() and int(number) > 0):
        raise Refused(f"{number!r} is no number of steps; give 1 or more, or auto")
    session.change(steps="auto" if number == "auto" else int(number))
    session.console.print(Text(f"denoise steps a turn from now on: {number}", style="dim"))


def _quit(session: Session, _: str) -> None:
    raise Leave


COMMANDS: Mapping[str, Command] = {
    "/help": Command("lists these commands", "", _help),
    "/history": Command("shows all that was said", "", _history),
    "/trace": Command("shows where the time of the last answer went", "", _trace),
    "/tools": Command("lists the agent's tools", "", _tools),
    "/reset": Command("forgets the conversation and begins anew", "", _reset),
    "/save": Command("writes the conversation to a file", "FILE", _save),
    "/load": Command("goes on with the conversation in a file", "FILE", _load),
    "/steps": Command("sets the denoise steps a turn may take", "N", _steps),
    "/quit": Command("leaves, as Ctrl-D does", "", _quit),
}
