"""The last finished responses, so that another may go on from one, or a client read it again.

Knows ids, their order and how much room there is. Must not know what a response says.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from agentkit_engine.server.chat.openai.responses_items import Chat
from agentkit_engine.server.transport.problems import Refused

_SHOWN = 64  # characters of an id that was not given here


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A finished response.

    Attributes:
        told: as its client was told of it.
        chat: up to its end.
        size: bytes, about. What it shares with those before it counts again: it stays when they go.
    """

    told: dict[str, Any]
    chat: Chat
    size: int


class KeptResponses:
    """The last finished responses of one server; those least recently asked for go first."""

    def __init__(self, *, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, told: dict[str, Any], chat: Chat) -> None:
        """Keeps one for as long as there is room."""
        size = len(json.dumps(told)) + len(json.dumps(chat.messages))
        self._kept[told["id"]] = Kept(told=told, chat=chat, size=size)
        self._size += size
        while len(self._kept) > self._most or self._size > self._most_bytes:
            self._size -= self._kept.popitem(last=False)[1].size

    def find(self, id: str) -> Kept:
        """The response of that id.

        Raises:
            Refused: there is none, or none any more.
        """
        if id not in self._kept:
            why = f"Response with id {id[:_SHOWN]!r} not found"
            raise Refused(404, "NotFound", why, "response_id")
        self._kept.move_to_end(id)
        return self._kept[id]

    def before(self, id: str) -> Chat:
        """The chat up to the end of a response, for the next one.

        Raises:
            Refused: there is none, or none any more.
        """
        if id not in self._kept:
            why = f"Previous response with id {id[:_SHOWN]!r} not found; send its chat in 'input'"
            raise Refused(400, "PreviousResponseNotFound", why, "previous_response_id")
        return self.find(id).chat

    def drop(self, id: str) -> None:
        """Forgets one; what went on from it stays as it is.

        Raises:
            Refused: there is none.
        """
        self._size -= self.find(id).size
        del self._kept[id]
