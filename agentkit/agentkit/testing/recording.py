"""What a recording is: conversations with a model, as a file of JSON lines that diffs well.

The first line says what the model can do; then each conversation, in the order they were opened,
says how it was opened (or what it forks) and has a line for each decision: what was sent since the
one before, and what the model decided. Nothing that changes from run to run is kept: no timings,
no drafts. Knows the file; must not know who writes it or plays it back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import agentkit.errors
from agentkit.backend import (
    Capabilities,
    Decision,
    ModelSettings,
    ProposedCall,
    ToolSpec,
)
from agentkit.errors import AgentKitError, BackendError, EngineError
from agentkit.message import Message, dump_messages

T = TypeVar("T")

FORMAT = 1
_DIGITS = 6  # of a probability: beyond, it is the machine that tells


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was asked of a model, and what came of it; both JSON objects."""

    asked: dict[str, Any]
    given: dict[str, Any]

    def outcome(self) -> Decision:
        """What came of it, again.

        Raises:
            EngineError: that came of it.
        """
        if "error" in self.given:
            raise _error(self.given["error"])
        return _decision(self.given["decision"])


@dataclass(slots=True, eq=False)
class Track:
    """One conversation; another with the same content is another one.

    parent: the one it forks, None where it was opened with `opening`. exchanges: all of them; the
    first `shared` are the parent's.
    """

    opening: dict[str, Any]
    parent: Track | None = None
    exchanges: list[Exchange] = field(default_factory=list[Exchange])
    shared: int = 0

    def fork(self) -> Track:
        """A track that goes on from here."""
        return Track(self.opening, self, list(self.exchanges), len(self.exchanges))


@dataclass(slots=True)
class Recording:
    """All that was recorded in a file."""

    capabilities: Capabilities
    tracks: list[Track] = field(default_factory=list[Track])

    def write(self, path: Path) -> None:
        """Write the file, its folder too, all at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.new")
        lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in self._lines()]
        fresh.write_text("".join(lines), "utf-8", newline="\n")
        fresh.replace(path)

    def _lines(self) -> Iterator[dict[str, Any]]:
        yield {"agentkit": FORMAT, "capabilities": _names(self.capabilities)}
        for number, track in enumerate(self.tracks, 1):
            yield {"conversation": number, **self._origin(number, track)}
            for exchange in track.exchanges[track.shared :]:
                yield {"conversation": number, **exchange.asked, **exchange.given}

    def _origin(self, number: int, track: Track) -> dict[str, Any]:
        if track.parent is not None:
            return {"fork": self.tracks.index(track.parent) + 1, "after": track.shared}
        for place, other in enumerate(self.tracks[: number - 1], 1):
            if other.opening == track.opening:  # tools take room; they are told once
                return {"opened_as": place}
        return track.opening


def read(path: Path) -> Recording:
    """The recording in a file.

    Raises:
        BackendError: there is none, or it is broken; names the line.
    """
    try:
        # not `splitlines`: a text within may have line separators of its own
        first, *rest = path.read_text("utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeError) as error:
        raise BackendError(f"the recording {str(path)!r} can't be read: {error}") from error
    recording = _line(path, 1, first, _begun)
    for number, line in enumerate(rest, 2):
        _line(path, number, line, partial(_add, recording.tracks))
    return recording


def _line(path: Path, number: int, line: str, use: Callable[[dict[str, Any]], T]) -> T:
    try:
        return use(json.loads(line))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BackendError(
            f"{path}, line {number}: this is no line of a recording: {type(error).__name__}: "
            f"{error}"
        ) from error


def _begun(told: dict[str, Any]) -> Recording:
    if told["agentkit"] != FORMAT:
        raise ValueError(f"form {told['agentkit']!r} is not known, only {FORMAT}")
    return Recording(Capabilities(**dict.fromkeys(told["capabilities"], True)))


def _add(tracks: list[Track], told: dict[str, Any]) -> None:
    place: int = told.pop("conversation") - 1
    if place < len(tracks):
        given: dict[str, Any] = {}
        for key in ("decision", "error"):
            if key in told:
                given[key] = told.pop(key)
        tracks[place].exchanges.append(Exchange(told, given))
    elif "fork" in told:
        parent = tracks[int(told["fork"]) - 1]
        shared = parent.exchanges[: told["after"]]
        tracks.append(Track(parent.opening, parent, shared, len(shared)))
    else:
        opening = tracks[int(told["opened_as"]) - 1].opening if "opened_as" in told else told
        tracks.append(Track(opening))


# --- what is asked


def opening_of(
    instructions: str, tools: Sequence[ToolSpec], output: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What a conversation is opened with."""
    return {"instructions": instructions, "tools": list(map(asdict, tools)), "output": output}


def asked_of(sent: Sequence[Message], settings: ModelSettings) -> dict[str, Any]:
    """A decision asked for, after these messages."""
    said = {name: value for name, value in asdict(settings).items() if value is not None}
    return {"sent": json.loads(dump_messages(sent)), **({"settings": said} if said else {})}


def refilled_of(filled: ProposedCall | Decision, rejected: Mapping[str, str]) -> dict[str, Any]:
    """A refill asked for."""
    if isinstance(filled, ProposedCall):
        told: dict[str, Any] = {"tool": filled.tool, "arguments": filled.arguments}
    else:
        told = {"answer": filled.answer}
    return {"filled": told, "rejected": dict(rejected)}


# --- what is given


def decided(decision: Decision) -> dict[str, Any]:
    """A decision given; without what is 0 or empty."""
    told = {
        "calls": list(map(_call, decision.calls)),
        "choice": _rounded(decision.choice),
        "forwards": decision.forwards,
        "passes": decision.passes,
        "tokens": decision.tokens,
        "prompt_tokens": decision.prompt_tokens,
        "model": decision.model,
    }
    answer = {} if decision.answer is None else {"answer": decision.answer}
    return {"decision": answer | {key: value for key, value in told.items() if value}}


def refused(error: EngineError) -> dict[str, Any]:
    """An error given instead of a decision."""
    return {"error": {"type": type(error).__name__, "args": list(error.args)}}


def _call(call: ProposedCall) -> dict[str, Any]:
    told: dict[str, Any] = {"tool": call.tool, "arguments": call.arguments}
    if call.confidence:
        told["confidence"] = _rounded(call.confidence)
    if call.problem:
        told["problem"] = call.problem
    return told


def _rounded(shares: Mapping[str, float]) -> dict[str, float]:
    return {key: round(share, _DIGITS) for key, share in shares.items()}


def _decision(told: Mapping[str, Any]) -> Decision:
    fields = dict(told)
    calls = tuple(ProposedCall(**call) for call in fields.pop("calls", ()))
    return Decision(calls, **fields)


def _error(told: Mapping[str, Any]) -> AgentKitError:
    kind = getattr(agentkit.errors, told["type"], BackendError)
    return kind(*told["args"])


def _names(capabilities: Capabilities) -> list[str]:
    # drafts are not recorded, so that nobody may count on them
    return [name for name, has in asdict(capabilities).items() if has and name != "drafts"]
