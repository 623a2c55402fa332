"""Scores tools by the words that a request and they have in common: BM25, by SQLite's FTS5.

BM25 as in Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009, with k1 = 1.2 and
b = 0.75. Words are compared by their English stems. Knows what tools say of themselves; must not
know agents.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from agentkit.backend import ToolSpec
from agentkit.errors import DefinitionError

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # camel|Case, HTTP|Server
_WORD = re.compile(r"[^\W_]+")
_MAX_WORDS = 1000  # of a request, half of them from its end: what is asked stands there or first
_MATCHES = "SELECT rowid, bm25(tools) FROM tools WHERE tools MATCH ?"
_SCHEMAS = ("items", "additionalProperties", "anyOf", "oneOf", "allOf")


class Words:
    """An index of tools by their words, in memory. It may be asked from any thread."""

    def __init__(self, tools: Sequence[ToolSpec]) -> None:
        """
        Raises:
            DefinitionError: this Python's SQLite has no full-text search.
        """
        import sqlite3

        self._count = len(tools)
        self._lock = threading.Lock()
        self._rows = sqlite3.connect(":memory:", check_same_thread=False)
        weakref.finalize(self, self._rows.close)
        try:
            self._rows.execute(
                "CREATE VIRTUAL TABLE tools USING fts5(words, tokenize='porter unicode61')"
            )
        except sqlite3.OperationalError as error:
            raise DefinitionError(
                f"tools can't be ranked by their words: {error}; use a Python whose SQLite has "
                "FTS5, as those of python.org and of most systems have, or a selection of your own"
            ) from error
        texts = [(place, said_by(tool)) for place, tool in enumerate(tools)]
        self._rows.executemany("INSERT INTO tools(rowid, words) VALUES (?, ?)", texts)

    def scores(self, request: str) -> list[float]:
        """How well each tool fits the request; 0 for those that share no word with it."""
        scores = [0.0] * self._count
        words = list(dict.fromkeys(_words(request)))
        if len(words) > _MAX_WORDS:
            words = words[: _MAX_WORDS // 2] + words[-_MAX_WORDS // 2 :]
        if not words:
            return scores
        either = " OR ".join(f'"{word}"' for word in words)
        with self._lock:
            for place, worth in self._rows.execute(_MATCHES, (either,)):
                scores[place] = -worth  # FTS5 gives the better the lower
        return scores


def said_by(tool: ToolSpec) -> str:
    """All that a tool says of itself: names, descriptions and choices, names in single words."""
    parts = [tool.name, tool.description, *_said(tool.parameters)]
    return " ".join(word for part in parts for word in _words(part))


def _words(text: str) -> list[str]:
    return _WORD.findall(_HUMP.sub(" ", text))


def _said(schema: Any) -> Iterator[str]:
    """The names, descriptions and choices of a schema's properties, at any depth."""
    if isinstance(schema, list):
        for one in cast(Sequence[Any], schema):
            yield from _said(one)
    if not isinstance(schema, dict):
        return
    node = cast(Mapping[str, Any], schema)
    properties = node.get("properties")
    if isinstance(properties, dict):
        for name, one in cast(Mapping[str, Any], properties).items():
            yield name
            if isinstance(one, dict):
                yield from _texts(cast(Mapping[str, Any], one))
            yield from _said(one)
    for key in _SCHEMAS:
        yield from _said(node.get(key))


def _texts(node: Mapping[str, Any]) -> Iterator[str]:
    description, choices = node.get("description"), node.get("enum")
    if isinstance(description, str):
        yield description
    if isinstance(choices, list):
        yield from (one for one in cast(Sequence[Any], choices) if isinstance(one, str))
