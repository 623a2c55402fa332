"""A hole in a text, whatever API asked for it to be filled, and what came of it.

Knows texts and options. Must not know any API, nor how a hole is filled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from agentkit_engine.filling.outcome import Filling, Token
from agentkit_engine.filling.settings import FillingOptions

Reason: TypeAlias = Literal["stop", "length"]
# Told more of what a choice says, which stays as it is: the choice's number and the text.
Hear: TypeAlias = Callable[[int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """Another text that the model is to know; a name may be missing."""

    name: str = ""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """What stood in the hole.

    Attributes:
        keep: the share of its tokens that the first step shows, as a hint.
    """

    text: str
    keep: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A hole that is to be filled.

    Attributes:
        before, behind: all of the text around it.
        name: of the file that it is in; empty where nobody said.
        files: others, the most important last.
        max_tokens: of what fills it; None leaves it to the server.
        old: of a text that is edited.
        pattern: that fills the hole from end to end, see `Template.infill`.
        choices: so many fillings are asked for, each with its own seed.
        stop: texts before which a filling ends.
        likeliest: tokens that are told of each place, with their probabilities; None: none are
            told, not even those of what is said.
    """

    before: str
    behind: str = ""
    name: str = ""
    files: tuple[File, ...] = ()
    max_tokens: int | None = None
    old: Old | None = None
    pattern: str | None = None
    choices: int = 1
    stop: tuple[str, ...] = ()
    likeliest: int | None = None
    options: FillingOptions = field(default_factory=FillingOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What came of one choice.

    Attributes:
        text: of the hole alone, up to where a stop text begins.
        reason: why it ends; "length" where it takes all the room there was.
        stopped_by: the stop text that was met.
        tokens: of `text`.
        said: those tokens and how probable each was, where that is asked for.
        filling: what it took.
    """

    text: str
    reason: Reason
    stopped_by: str | None
    tokens: int
    said: tuple[Token, ...] = ()
    filling: Filling


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of all choices.

    Attributes:
        prompt_tokens: of what the model was shown around the hole.
        cached_tokens: those of them that were found encoded.
    """

    filled: tuple[Filled, ...]
    prompt_tokens: int
    cached_tokens: int
