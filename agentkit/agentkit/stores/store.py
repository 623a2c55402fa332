"""What keeps conversations between runs: the protocol, and what all stores refuse.

Knows messages; must not know where a store puts them, nor who runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agentkit.errors import ConversationChanged, StoreError
from agentkit.message import History, Message


class Store(Protocol):
    """Conversations by key. Any number of runs, tasks and event loops may share one.

    A conversation is append-only: what is kept is never changed, only deleted as a whole. The one
    who made the store closes it; an agent never does.
    """

    async def load(self, key: str) -> History:
        """All messages of a conversation; none of one that was never begun.

        Raises:
            StoreError: the conversation can't be read; names the key and what is wrong.
        """
        ...

    async def append(self, key: str, messages: Sequence[Message], *, at: int) -> None:
        """Add messages to a conversation that holds `at` of them: all or, where it fails, none.

        Cancelling does not cut it off: what was handed over is kept.

        Raises:
            ConversationChanged: it holds more or fewer than `at`; nothing is added.
            StoreError: the messages can't be kept.
        """
        ...

    async def delete(self, key: str) -> None:
        """Forget a conversation. One that was never begun is forgotten already."""
        ...

    async def keys(self) -> tuple[str, ...]:
        """The keys of all conversations, in the order they were begun."""
        ...


def checked_key(key: object) -> str:
    """The key, if it is one.

    Raises:
        StoreError: it is empty or no text.
    """
    if not isinstance(key, str):
        raise StoreError(
            f"the conversation's key is of type {type(key).__name__!r}; give a text, such as a "
            "user's id"
        )
    if not key:
        raise StoreError("the conversation's key is empty; give a text, such as a user's id")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise StoreError(f"the conversation's key {key!r} is no Unicode text: {error}") from error
    return key


def check_unchanged(key: str, *, holds: int, at: int) -> None:
    """See that a conversation is as the run that adds to it has read it.

    Raises:
        ConversationChanged: it is not; says what became of it.
    """
    if holds == at:
        return
    became = "another run has added to it" if holds > at else "it was deleted or begun anew"
    raise ConversationChanged(
        f"conversation {key!r} holds {holds} messages where this run has seen {at}: {became} "
        "meanwhile; nothing was overwritten. Load it and ask again"
    )
