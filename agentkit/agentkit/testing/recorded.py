"""A model's decisions recorded once, and played back from then on without the model.

    backend = RecordingBackend(EmbeddedBackend(), "booking.jsonl")    # once
    backend = ReplayBackend("booking.jsonl")                          # from then on

What is played back is found by what is sent, so that any number of conversations may interleave;
whatever is sent otherwise than it was is an error that shows the difference. Knows the backend
protocol; must not know the loop.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from difflib import SequenceMatcher, unified_diff
from pathlib import Path
from typing import Any

import anyio.lowlevel

from agentkit.backend import (
    Backend,
    Capabilities,
    Conversation,
    Decision,
    ModelSettings,
    OnDraft,
    ProposedCall,
    ToolSpec,
)
from agentkit.errors import BackendError, EngineError
from agentkit.message import Message
from agentkit.testing.recording import (
    Exchange,
    Recording,
    Track,
    asked_of,
    decided,
    opening_of,
    read,
    refilled_of,
    refused,
)

ANEW = "record anew with `RecordingBackend(backend, path)`"
_SHOWN = 40  # lines of a difference


class RecordingBackend:
    """Another backend, all of whose decisions are written to a file.

    The file is written when no conversation is open any more, and by `save` and `aclose`; what was
    in it before is gone. Closing it closes the backend within.
    """

    def __init__(self, backend: Backend, path: str | Path) -> None:
        self._backend = backend
        self._recording = Recording(backend.capabilities)
        self._open = 0
        self.path = Path(path)

    @property
    def capabilities(self) -> Capabilities:
        return self._backend.capabilities

    async def open(
        self,
        *,
        instructions: str,
        tools: Sequence[ToolSpec],
        output: Mapping[str, Any] | None = None,
    ) -> Conversation:
        within = await self._backend.open(instructions=instructions, tools=tools, output=output)
        track = Track(opening_of(instructions, tools, output))
        self._recording.tracks.append(track)
        self._open += 1
        return _RecordingConversation(self, within, track, [])

    def save(self) -> None:
        """Write the file as far as it goes, here and now, so that no two writes meet."""
        self._recording.write(self.path)

    async def aclose(self) -> None:
        self.save()
        await self._backend.aclose()

    def forked(self, track: Track) -> Track:
        """Begin a track that goes on from another."""
        twin = track.fork()
        self._recording.tracks.append(twin)
        self._open += 1
        return twin

    def closed(self) -> None:
        """A conversation has closed."""
        self._open -= 1
        if not self._open:
            self.save()


class _RecordingConversation:
    def __init__(
        self, backend: RecordingBackend, within: Conversation, track: Track, sent: list[Message]
    ) -> None:
        self._backend = backend
        self._within = within
        self._track = track
        self._sent = sent
        self._closed = False

    async def extend(self, messages: Sequence[Message]) -> None:
        await self._within.extend(messages)
        self._sent += messages

    async def decide(
        self, *, settings: ModelSettings = ModelSettings(), on_draft: OnDraft | None = None
    ) -> Decision:
        asked = asked_of(self._sent, settings)
        return await self._noted(asked, self._within.decide(settings=settings, on_draft=on_draft))

    async def refill(
        self,
        filled: ProposedCall | Decision,
        rejected: Mapping[str, str],
        *,
        settings: ModelSettings = ModelSettings(),
    ) -> Decision:
        asked = asked_of(self._sent, settings) | refilled_of(filled, rejected)
        return await self._noted(asked, self._within.refill(filled, rejected, settings=settings))

    def fork(self) -> Conversation:
        within = self._within.fork()
        track = self._backend.forked(self._track)
        return _RecordingConversation(self._backend, within, track, list(self._sent))

    async def aclose(self) -> None:
        await self._within.aclose()
        if not self._closed:
            self._closed = True
            self._backend.closed()

    async def _noted(self, asked: dict[str, Any], deciding: Awaitable[Decision]) -> Decision:
        try:
            decision = await deciding
        except EngineError as error:  # what the engine refuses, it refuses again
            self._track.exchanges.append(Exchange(asked, refused(error)))
            raise
        self._track.exchanges.append(Exchange(asked, decided(decision)))
        self._sent.clear()
        return decision


class ReplayBackend:
    """Decides what was recorded in a file; there is no model, and there are no drafts.

    anew: how a recording is made, told where there is none or another.
    """

    def __init__(self, path: str | Path, *, anew: str = ANEW) -> None:
        """Read the file.

        Raises:
            BackendError: there is none, or it is broken.
        """
        self.path = Path(path)
        self.anew = anew
        try:
            recording = read(self.path)
        except BackendError as error:
            raise BackendError(f"{error}; {anew}") from error
        self.capabilities = recording.capabilities
        self._tracks = recording.tracks
        self._roots: dict[str, list[Track]] = {}
        for track in recording.tracks:
            if track.parent is None:
                self._roots.setdefault(_text(track.opening), []).append(track)
        self._uses = Counter[Track]()

    async def open(
        self,
        *,
        instructions: str,
        tools: Sequence[ToolSpec],
        output: Mapping[str, Any] | None = None,
    ) -> Conversation:
        opening = opening_of(instructions, tools, output)
        if (tracks := self._roots.get(_text(opening))) is None:
            recorded = map(json.loads, self._roots)
            raise self.differs("how a conversation opens", recorded, opening)
        await anyio.lowlevel.checkpoint()
        return _ReplayConversation(self, tracks, 0, [])

    async def aclose(self) -> None:
        """There is nothing to free."""

    def least_used(self, tracks: Sequence[Track]) -> Track:
        """One of these; another one each time, so that equal beginnings all have their turn."""
        chosen = min(tracks, key=self._uses.__getitem__)
        self._uses[chosen] += 1
        return chosen

    def forks(self, tracks: Sequence[Track], place: int) -> list[Track]:
        """The forks of these that were made after so many exchanges."""
        return [one for one in self._tracks if one.parent in tracks and one.shared == place]

    def differs(
        self, what: str, recorded: Iterable[dict[str, Any]], now: dict[str, Any]
    ) -> BackendError:
        """Says how what is sent now differs from the nearest of what was recorded."""
        lines = _readable(now)
        others = [_readable(one) for one in recorded]
        if not others:
            told = f"nothing was recorded here, and now this is asked:\n{_cut(lines)}"
        else:
            nearest = max(others, key=lambda one: SequenceMatcher(None, one, lines).ratio())
            differences = list(unified_diff(nearest, lines, n=2, lineterm=""))[2:]
            told = f"- recorded, + now:\n{_cut(differences)}"
        return BackendError(
            f"{self.path}: {what} is not as it was recorded; {told}\nif that is meant, {self.anew}"
        )


class _ReplayConversation:
    """Knows all tracks that what was sent so far may belong to, and follows one of them."""

    def __init__(
        self, backend: ReplayBackend, tracks: list[Track], place: int, sent: list[Message]
    ) -> None:
        self._backend = backend
        self._tracks = tracks
        self._track: Track | None = None
        self._place = place
        self._sent = sent

    async def extend(self, messages: Sequence[Message]) -> None:
        self._sent += messages
        await anyio.lowlevel.checkpoint()

    async def decide(
        self, *, settings: ModelSettings = ModelSettings(), on_draft: OnDraft | None = None
    ) -> Decision:
        return await self._replayed(asked_of(self._sent, settings))

    async def refill(
        self,
        filled: ProposedCall | Decision,
        rejected: Mapping[str, str],
        *,
        settings: ModelSettings = ModelSettings(),
    ) -> Decision:
        return await self._replayed(asked_of(self._sent, settings) | refilled_of(filled, rejected))

    def fork(self) -> Conversation:
        tracks = self._backend.forks(self._tracks, self._place)
        return _ReplayConversation(self._backend, tracks, self._place, list(self._sent))

    async def aclose(self) -> None:
        """There is nothing to free."""

    async def _replayed(self, asked: dict[str, Any]) -> Decision:
        place = self._place
        here = [track for track in self._tracks if len(track.exchanges) > place]
        fitting = [track for track in here if track.exchanges[place].asked == asked]
        if not fitting:
            what = f"exchange {place + 1} of a conversation"
            recorded = (track.exchanges[place].asked for track in here)
            raise self._backend.differs(what, recorded, asked)
        if self._track not in fitting:
            self._track = self._backend.least_used(fitting)
        exchange = self._track.exchanges[place]
        self._tracks = [one for one in fitting if one.exchanges[place].given == exchange.given]
        self._place += 1
        await anyio.lowlevel.checkpoint()
        decision = exchange.outcome()
        self._sent.clear()
        return decision


def _text(told: dict[str, Any]) -> str:
    return json.dumps(told, ensure_ascii=False, sort_keys=True)


def _readable(told: dict[str, Any]) -> list[str]:
    return json.dumps(told, indent=2, ensure_ascii=False, sort_keys=True).splitlines()


def _cut(lines: Sequence[str]) -> str:
    rest = len(lines) - _SHOWN
    return "\n".join([*lines[:_SHOWN], *([f"… and {rest} lines more"] if rest > 0 else [])])
