"""Patterns of paths: `*.py` a name at any depth, `src/**/*.py` a path from the root.

`*`, `?` and `[a-z]` stay within a name, `**` stands for any number of folders, `{a,b}` for either.
Matching takes time in proportion to pattern and path, whatever the pattern. Knows texts only.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

_BRACES = re.compile(r"\{([^{}]*)\}")
_MAX_LENGTH = 200
_MAX_EXPANDED = 50


class BadGlob(ValueError):
    """A pattern that means nothing here; says why."""


def expanded(pattern: str) -> list[str]:
    """The patterns without braces that one stands for; one is matched if any of them is.

    Raises:
        BadGlob: it can't be read.
    """
    if len(pattern) > _MAX_LENGTH:
        raise BadGlob(f"a pattern has at most {_MAX_LENGTH} characters")
    if pattern.startswith("!"):
        raise BadGlob(f"{pattern!r} says what is not meant; say what is, as '*.py'")
    if any(letter in pattern for letter in "\\\0\n"):
        raise BadGlob(f"{pattern!r} has a backslash, NUL or line end in it; leave it out")
    found = [pattern.removeprefix("./").lstrip("/")]
    while any(_BRACES.search(one) for one in found):
        found = [simpler for one in found for simpler in _without_one(one)]
        if len(found) > _MAX_EXPANDED:
            raise BadGlob(f"{pattern!r} stands for too many patterns; use '*'")
    for one in found:
        _check(one, pattern)
    return [f"{one}**" if one.endswith("/") else one for one in found]


def matches(parts: Sequence[str], pattern: str) -> bool:
    """Whether a path matches a pattern that has no braces."""
    if "/" not in pattern and pattern != "**":
        return fnmatch.fnmatchcase(parts[-1], pattern)
    # reached[i]: the patterns so far match the first i names
    reached = [True] + [False] * len(parts)
    steps = pattern.split("/")
    for number, step in enumerate(steps):
        if step == "**":
            first = reached.index(True) if True in reached else len(reached)
            # at the end it stands for something: `src/**` is not `src`
            first += number == len(steps) - 1
            reached = [place >= first for place in range(len(reached))]
        else:
            after = zip(reached, parts, strict=False)
            reached = [False, *(here and fnmatch.fnmatchcase(name, step) for here, name in after)]
    return reached[-1]


def _without_one(pattern: str) -> list[str]:
    """The same pattern with one pair of braces spelled out."""
    braces = _BRACES.search(pattern)
    if braces is None:
        return [pattern]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [f"{before}{choice}{after}" for choice in braces[1].split(",")]


def _check(pattern: str, given: str) -> None:
    if not pattern:
        raise BadGlob("the pattern is empty; give one such as '*.py'")
    if "{" in pattern or "}" in pattern:
        raise BadGlob(f"{given!r} has a brace without its partner")
    for step in pattern.rstrip("/").split("/"):
        if step in {"", ".", ".."}:
            raise BadGlob(f"{given!r} has an empty, '.' or '..' folder in it; leave it out")
        if "**" in step and step != "**":
            raise BadGlob(f"{given!r}: '**' stands alone between slashes, as in 'src/**/*.py'")
        if "[" in step or "]" in step:
            _check_brackets(step, given)


def _check_brackets(step: str, given: str) -> None:
    rest = re.sub(r"\[!?[\w.-]+\]", "", step)
    if "[" in rest or "]" in rest:
        raise BadGlob(f"{given!r}: brackets hold letters and digits, as in '[a-z0-9]'")
