"""How names are spelled and requests are worded, whatever they are about.

Must not know tools or tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TypeAlias

Style: TypeAlias = Callable[[Sequence[str]], str]

_ASKING = (
    "please ", "can you ", "could you ", "hey, ", "I need you to ", "would you ", "go and ",
    "now ", "also ", "next, ", "ok, ", "could you please ", "can you please ",
    "I would like you to ", "kindly ",
)  # fmt: skip
_OPENINGS = (*_ASKING, "I want to ", "I need to ", "I'd like to ", "let's ", "help me to ")
_ENDINGS = ("", "", "", "", ".", ".", ".", "!", ", please", " please", ", thanks", " for me")
_QUESTIONS = frozenset(
    (
        "what", "how", "which", "is", "are", "who", "when", "where", "does", "do", "did", "was",
        "were", "can",
    )
)  # fmt: skip


def snake(parts: Sequence[str]) -> str:
    """As in `find_old_hotel`."""
    return "_".join(parts)


def camel(parts: Sequence[str]) -> str:
    """As in `findOldHotel`."""
    return parts[0] + "".join(part[:1].upper() + part[1:] for part in parts[1:])


def pascal(parts: Sequence[str]) -> str:
    """As in `FindOldHotel`."""
    return "".join(part[:1].upper() + part[1:] for part in parts)


def kebab(parts: Sequence[str]) -> str:
    """As in `find-old-hotel`."""
    return "-".join(parts)


def _noun_first(parts: Sequence[str]) -> str:
    """As in `old_hotel_find`."""
    return "_".join([*parts[1:], parts[0]])


# how tools are named, and how often; their parameters follow `KEYS`
STYLES: Mapping[Style, float] = {
    snake: 0.6,
    camel: 0.2,
    pascal: 0.05,
    kebab: 0.07,
    _noun_first: 0.08,
}
KEYS: Mapping[Style, Style] = {camel: camel, pascal: camel}


def style(random: Random) -> Style:
    """One of the ways in which APIs name their functions."""
    (found,) = random.choices(list(STYLES), list(STYLES.values()))
    return found


def tool_name(random: Random, spelled: Style, name: str, domain: str) -> str:
    """A tool's name; now and then with its toolset before it."""
    written = spelled(name.split())
    draw = random.random()
    if draw < 0.85:
        return written
    return domain + (".", ".", "_", "__", "-")[int(draw * 1e6) % 5] + written


def key(spelled: Style, name: str) -> str:
    """A parameter's name in a tool of that style."""
    return KEYS.get(spelled, snake)(name.split())


def polished(random: Random, text: str, *, literal: bool = True, imperative: bool = False) -> str:
    """Opening, capital letter and final mark, as people do or don't write them.

    Args:
        literal: whether the text begins with words of a frame, which may be changed, not a value.
        imperative: whether it begins with a verb, before which one can say "please".
    """
    text = " ".join(text.split())
    first = text.split(" ", 1)[0].strip(",.").lower()
    imperative = imperative and first not in _QUESTIONS
    if imperative and random.random() < 0.4:
        # nobody says "I want to give me"
        mine = text.split(" ", 2)[1:2] in (["me"], ["us"])
        text = random.choice(_ASKING if mine else _OPENINGS) + text
    if literal and random.random() < 0.5:
        text = text[0].upper() + text[1:]
    if text[-1] in ".!?":
        return text
    if first in _QUESTIONS:
        return text + random.choice(("?", "?", "?", "", ""))
    return text + random.choice(_ENDINGS if imperative else _ENDINGS[:8])


def listed(random: Random, words: Sequence[str]) -> str:
    """'a, b and c', as lists are said."""
    if len(words) == 1:
        return words[0]
    last = random.choice((" and ", " and ", " and also ", ", and " if len(words) > 2 else " and "))
    return ", ".join(words[:-1]) + last + words[-1]


def failure(name: str, reason: str, *, bare: bool) -> str:
    """What a failed call returns: the `bare` reason, or as the agent loop words it."""
    if bare:
        return f"error: {reason}"
    told = f"error: {name} failed: ValueError: {reason}."
    return f"{told} Call it with other arguments, or answer without it."
