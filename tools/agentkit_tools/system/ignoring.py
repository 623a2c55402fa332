"""What the `.gitignore` files of a folder leave out, as `git` reads them.

The lines of a file hold for what lies below it; of those that match a path the last one of the
nearest file decides. What lies in a folder that is left out is never asked about. Knows patterns,
and open folders to read them from; must not know what the rest is used for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from agentkit_tools.system.rooted import Entry, Folder, Parts, Refused

_MAX_BYTES = 1 << 20
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Rule:
    """A line of a `.gitignore` file.

    steps: one for the name alone, at any depth; else one a folder, None for any number of them.
    """

    ignores: bool
    folders_only: bool
    anchored: bool
    steps: tuple[re.Pattern[str] | None, ...]

    def matches(self, path: Parts, *, is_folder: bool) -> bool:
        """Whether the rule is about a path, taken from where its file lies."""
        if self.folders_only and not is_folder:
            return False
        if not self.anchored:
            step = self.steps[0]
            return step is None or step.fullmatch(path[-1]) is not None
        return _matches(path, self.steps)


def rule_of(line: str) -> Rule | None:
    """Read a line; None where it says nothing."""
    text = re.sub(r"(?<!\\) +$", "", line.removesuffix("\r"))
    if not text or text.startswith("#"):
        return None
    ignores = not text.startswith("!")
    text = text.removeprefix("!")
    folders_only = text.endswith("/")
    text = text.removesuffix("/")
    anchored = "/" in text
    names = text.removeprefix("/").split("/")
    try:
        steps = [None if name == "**" else re.compile(_expression(name)) for name in names]
    except ValueError:
        return None
    return Rule(ignores, folders_only, anchored, tuple(steps)) if text.strip("/") else None


class GitIgnore:
    """Says of entries whether the files above them leave them out, on the way down."""

    def __init__(self) -> None:
        self._rules: dict[Parts, tuple[Rule, ...]] = {}

    def skips(self, folder: Folder, path: Parts, entry: Entry) -> bool:
        """Whether an entry is left out; asked of each folder before what is in it."""
        above = path[:-1]
        if above not in self._rules:
            self._rules[above] = _read(folder)
        is_folder = entry.kind == "folder"
        for depth in range(len(above), -1, -1):
            for rule in self._rules.get(above[:depth], ()):
                if rule.matches(path[depth:], is_folder=is_folder):
                    return rule.ignores
        return False


def _read(folder: Folder) -> tuple[Rule, ...]:
    """The rules of a folder, the last one first."""
    try:
        data, _ = folder.read(".gitignore", limit=_MAX_BYTES)
    except (Refused, OSError):  # there is none, or none that we would follow
        return ()
    lines = data.removeprefix(_MARK).decode(errors="surrogateescape").split("\n")
    rules = [rule for line in lines if (rule := rule_of(line)) is not None]
    return tuple(reversed(rules))


def _matches(path: Sequence[str], steps: Sequence[re.Pattern[str] | None]) -> bool:
    # reached[i]: the steps so far match the first i names
    reached = [True] + [False] * len(path)
    for number, step in enumerate(steps):
        if step is None:
            first = reached.index(True) if True in reached else len(reached)
            first += number == len(steps) - 1  # `a/**` is what is in it, not itself
            reached = [place >= first for place in range(len(reached))]
        else:
            after = zip(reached, path, strict=False)
            reached = [False, *(here and step.fullmatch(name) is not None for here, name in after)]
    return reached[-1]


def _expression(glob: str) -> str:
    """A pattern of a name as a regular expression.

    Raises:
        ValueError: it matches nothing.
    """
    made: list[str] = []
    place = 0
    while place < len(glob):
        letter = glob[place]
        place += 1
        if letter == "*":
            if made[-1:] != [".*"]:
                made.append(".*")
        elif letter == "?":
            made.append(".")
        elif letter == "[":
            bracket, place = _bracket(glob, place)
            made.append(bracket)
        elif letter == "\\":
            if place == len(glob):
                raise ValueError("a backslash without a character")
            made.append(re.escape(glob[place]))
            place += 1
        else:
            made.append(re.escape(letter))
    return f"(?s:{''.join(made)})"


def _bracket(glob: str, place: int) -> tuple[str, int]:
    """The characters that stand in brackets from `place`, and where these end."""
    found = re.compile(r"([!^]?)(\]?(?:\\.|[^]\\])*)\]").match(glob, place)
    if found is None:
        raise ValueError("a bracket without its partner")
    letters = re.sub(r"\\(.)", r"\1", found[2])
    # "-" between two others makes a range, and means itself elsewhere, as it does to `re`
    inside = re.sub(r"([\\\]\[^&~|])", r"\\\1", letters)
    try:
        re.compile(f"[{inside}]")
    except re.error as error:  # [z-a]
        raise ValueError("a range from back to front") from error
    return f"[{'^' if found[1] else ''}{inside}]", found.end()
