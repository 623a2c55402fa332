"""One conversation at a terminal: what is asked, what is drawn, what is approved, what is kept.

Knows agents, their events and the history. Must not know commands, nor where requests come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from rich.console import Console
from rich.text import Text

from agentkit.agent import Agent
from agentkit.backend import ModelSettings
from agentkit.errors import AgentKitError
from agentkit.message import Call, History, ResultMessage, waiting_calls
from agentkit.result import Resume, RunResult
from agentkit.running.stream import EventStream
from agentkit.stores.store import Store
from agentkit.terminal.approving import ask_verdicts
from agentkit.terminal.event_loop import EventLoop
from agentkit.terminal.failures import is_own, told
from agentkit.terminal.reading import Reader
from agentkit.terminal.screen import Screen


class Session:
    """Asks an agent one thing after another.

    history: of all that was said. result: of the last run that came to its end; None before.
    """

    def __init__(
        self,
        agent: Agent[Any, Any],
        *,
        loop: EventLoop,
        reader: Reader,
        console: Console,
        deps: Any = None,
        settings: ModelSettings = ModelSettings(),
        store: Store | None = None,
        key: str = "",
        approves: bool = True,
    ) -> None:
        """
        Args:
            loop: where the agent runs, and what it uses is open.
            store, key: what keeps the history, and under which name; None keeps nothing.
            approves: whether the reader is asked about calls that wait.
        """
        self.agent = agent
        self._loop = loop
        self.reader = reader
        self.console = console
        self.settings = settings
        self.history: History = ()
        self.result: RunResult[Any] | None = None
        self._deps = deps
        self._approves = approves
        self._store, self._key = store, key
        self._confidence: dict[str, Mapping[str, float]] = {}

    def ask(self, request: str | Resume) -> RunResult[Any] | None:
        """Have a request answered, with the user's word on calls that wait; None where they leave.

        Raises:
            AgentKitError: the run failed; what was done is in the history.
            KeyboardInterrupt: it was stopped, likewise.
        """
        if isinstance(request, str):
            self._go_without()
        self.result = result = self._answered(request)
        while result.status == "paused" and self._approves:
            verdicts = ask_verdicts(result, self._confidence, self.reader, self.console)
            if verdicts is None:
                return None
            if not verdicts:  # all of it is for later
                break
            self.result = result = self._answered(Resume(verdicts))
        return result

    def load(self) -> None:
        """Go on with the history that is kept."""
        if self._store is not None:
            self.history = self._loop.run(self._store.load, self._key)

    def begin(self, history: History = ()) -> None:
        """Go on with another history; what is kept is replaced."""
        self.result = None
        self.history = history
        if self._store is not None:
            self._loop.run(self._store.delete, self._key)
            self._keep(0)

    def change(self, **settings: Any) -> None:
        """Ask for decisions to be made otherwise from now on."""
        self.settings = replace(self.settings, **settings)

    @property
    def waiting(self) -> tuple[Call, ...]:
        """The calls at the end of the history that have no result yet."""
        return waiting_calls(self.history)

    def _go_without(self) -> None:
        """What waits is not made: the user says something else instead."""
        before = len(self.history)
        self.history += tuple(
            ResultMessage(call.id, call.tool, "The user went on without this call.", is_error=True)
            for call in self.waiting
        )
        self._keep(before)

    def _answered(self, request: str | Resume) -> RunResult[Any]:
        events = self.agent.stream(
            request, deps=self._deps, history=self.history, settings=self.settings
        )
        before = len(self.history)
        try:
            with self.reader.quiet():
                result = self._loop.run(watch, events, Screen(self.console))
            self._confidence |= result.confidence
            return result
        finally:
            self.history = events.history
            self._keep(before)

    def _keep(self, before: int) -> None:
        fresh = self.history[before:]
        if self._store is not None and fresh:
            self._loop.run(partial(self._store.append, self._key, fresh, at=before))


async def watch(events: EventStream[Any], screen: Screen) -> RunResult[Any]:
    """Show the events of a run as they come, and give back its result."""
    with screen.drawing():
        async with events:
            async for event in events:
                screen.show(event)
    return events.result


def tell(console: Console, work: Callable[[], RunResult[Any] | None]) -> bool:
    """Do it, and tell what stopped it; whether to go on."""
    try:
        return work() is not None
    except AgentKitError as error:
        console.print(Text(str(error), style="red"))
    except KeyboardInterrupt:
        console.print(Text("stopped", style="dim"))
    except Exception as error:  # of the agent's own code: its instructions, a guard, a hook
        if not is_own(error):
            raise
        console.print(Text(told(error), style="red"))
    return True
