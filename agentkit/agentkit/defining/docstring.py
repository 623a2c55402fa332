"""Reads a docstring: what a function does, and what each parameter means.

Understands the Google, NumPy and Sphinx styles. Knows text only, not functions.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_PARAMETERS = {"args", "arguments", "parameters", "params", "other parameters", "attributes"}
_SECTIONS = _PARAMETERS | {
    *("returns", "return", "yields", "yield", "raises", "raise", "warns"),
    *("example", "examples", "note", "notes", "warning", "warnings", "todo"),
    *("see also", "references", "receives"),
}
_GOOGLE_HEAD = re.compile(r"^([A-Za-z][A-Za-z ]*):\s*$")
_GOOGLE_ITEM = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY_ITEM = re.compile(r"^\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?$")
_SPHINX_FIELD = re.compile(r"^:(\w+)([^:]*):\s*(.*)$")


@dataclass(slots=True)
class Docstring:
    """The text before the first section, and a text for each parameter described."""

    description: str = ""
    parameters: dict[str, str] = field(default_factory=dict[str, str])


def parse_docstring(text: str | None) -> Docstring:
    """Take a docstring apart; what is not understood is left out, never an error."""
    lines = inspect.cleandoc(text or "").splitlines()
    sections = [*_section_starts(lines), (len(lines), len(lines), "")]
    doc = Docstring(description="\n".join(lines[: sections[0][0]]).strip())
    for (_, body, name), (end, _, _) in itertools.pairwise(sections):
        if name == "sphinx":
            doc.parameters.update(_sphinx_parameter(lines[body:end]))
        elif name.startswith("numpy ") and name[6:] in _PARAMETERS:
            doc.parameters.update(_numpy_parameters(lines[body:end]))
        elif name in _PARAMETERS:
            doc.parameters.update(_google_parameters(lines[body:end]))
    return doc


def _section_starts(lines: Sequence[str]) -> list[tuple[int, int, str]]:
    """(first line, first line of the body, name) of every section."""
    starts: list[tuple[int, int, str]] = []
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        head = _GOOGLE_HEAD.match(line)
        if head and head[1].lower() in _SECTIONS:
            starts.append((number, number + 1, head[1].lower()))
        elif line.lower().strip() in _SECTIONS and re.fullmatch(r"-{3,}\s*", following):
            starts.append((number, number + 2, f"numpy {line.lower().strip()}"))
        elif _SPHINX_FIELD.match(line):
            starts.append((number, number, "sphinx"))
    return starts


def _items(lines: Sequence[str], pattern: re.Pattern[str]) -> list[tuple[re.Match[str], str]]:
    """Items start at the section's own indentation; deeper lines continue the last one."""
    filled = [line for line in lines if line.strip()]
    margin = min((len(line) - len(line.lstrip()) for line in filled), default=0)
    items: list[tuple[re.Match[str], str]] = []
    for line in filled:
        match = pattern.match(line[margin:])
        if match:
            items.append((match, ""))
        elif items and line[margin:].startswith(" "):
            head, text = items[-1]
            items[-1] = (head, f"{text} {line.strip()}".strip())
    return items


def _google_parameters(lines: Sequence[str]) -> dict[str, str]:
    items = _items(lines, _GOOGLE_ITEM)
    return {head[1]: f"{head[2].strip()} {text}".strip() for head, text in items}


def _numpy_parameters(lines: Sequence[str]) -> dict[str, str]:
    items = _items(lines, _NUMPY_ITEM)
    return {name.strip(): text for head, text in items for name in head[1].split(",")}


def _sphinx_parameter(lines: Sequence[str]) -> dict[str, str]:
    head = _SPHINX_FIELD.match(lines[0])
    names = head[2].split() if head else []
    if not head or not names or head[1] not in {"param", "parameter", "arg", "argument"}:
        return {}
    rest = (line.strip() for line in lines[1:])
    return {names[-1]: " ".join(part for part in (head[3], *rest) if part).strip()}
