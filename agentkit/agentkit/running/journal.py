"""The history of a run as it grows: what is in it, what the store has of it, which calls wait.

Knows messages and stores. Must not know backends or tools. Messages are only ever added, and each
is handed to the store once.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

from agentkit.errors import AgentKitError, RunError, StoreError
from agentkit.message import Call, CallMessage, History, Message, ResultMessage, waiting_calls
from agentkit.stores.store import Store


@contextmanager
def store_errors() -> Generator[None]:
    """What a store raises that is none of ours becomes a `StoreError`."""
    try:
        yield
    except AgentKitError:
        raise
    except Exception as error:
        raise StoreError(f"the store failed: {type(error).__name__}: {error}") from error


class Journal:
    """The messages of one run, those it was given included."""

    def __init__(
        self, given: Iterable[object], *, store: Store | None = None, key: str | None = None
    ) -> None:
        """
        Args:
            given: the history that the run goes on from; it is in the store already.

        Raises:
            RunError: something in it is no message.
        """
        self._messages = _checked(given)
        self.given = len(self._messages)
        self._kept = self.given
        self._store, self._key = store, key
        self._number = sum(
            len(message.calls) for message in self._messages if isinstance(message, CallMessage)
        )
        # ids may come from elsewhere; ours must differ from all of them
        self._taken = {
            call.id
            for message in self._messages
            if isinstance(message, CallMessage)
            for call in message.calls
        }

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def history(self) -> History:
        """The messages so far. Well-formed at any time: every call that ended has its result."""
        return tuple(self._messages)

    def since(self, start: int) -> tuple[Message, ...]:
        """The messages from number `start` on."""
        return tuple(self._messages[start:])

    def add(self, *messages: Message) -> None:
        """Append messages."""
        self._messages.extend(messages)

    async def keep(self) -> None:
        """Hand the store what it has not seen yet.

        Raises:
            StoreError: it can't be kept; another run may have gone on with this conversation.
        """
        if self._store is None or self._key is None or self._kept == len(self._messages):
            return
        # counted first: what a store was handed it keeps, even where the wait for it is cancelled
        at, self._kept = self._kept, len(self._messages)
        with store_errors():
            await self._store.append(self._key, self._messages[at:], at=at)

    def fresh_id(self) -> str:
        """An id for a call that no call of the history has."""
        while True:
            self._number += 1
            name = f"call_{self._number}"
            if name not in self._taken:
                return name

    def waiting(self) -> tuple[Call, ...]:
        """The calls at the end of the history that have no result."""
        return waiting_calls(self._messages)

    def last_results(self) -> tuple[ResultMessage, ...]:
        """The results at the end of the history."""
        found: list[ResultMessage] = []
        for message in reversed(self._messages):
            if not isinstance(message, ResultMessage):
                break
            found.append(message)
        return tuple(reversed(found))


def _checked(history: Iterable[object]) -> list[Message]:
    messages: list[Message] = []
    for number, message in enumerate(history):
        if not isinstance(message, Message):
            raise RunError(
                f"history[{number}] is of type {type(message).__name__!r}, no message; give "
                "`result.history`, or read JSON with `load_messages`"
            )
        messages.append(message)
    return messages


def unfinished(calls: Sequence[Call]) -> list[ResultMessage]:
    """Results for calls of which nobody knows how they ended."""
    return [
        ResultMessage(
            call.id,
            call.tool,
            f"The run ended before {call.tool} finished; whether it took effect is not known.",
            is_error=True,
        )
        for call in calls
    ]
