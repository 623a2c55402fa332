"""Keywords about strings: lengths, patterns and formats.

Knows JSON Schema 2020-12 (validation, 6.3 and 7). Must not know how texts are written.
"""

from __future__ import annotations

from functools import lru_cache

from agentkit_engine.errors import UnsupportedSchema
from agentkit_engine.grammar.formula import TRUE, Formula, TextIn
from agentkit_engine.grammar.schema.rules import Node, Rule
from agentkit_engine.grammar.text.formats import format_texts
from agentkit_engine.grammar.text.regex import pattern_texts
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.truth import Between

__all__ = ["RULES", "pattern"]

_LONGEST = 512
"""Characters that a bounded string may have at most: about what fits on a canvas."""


def pattern(node: Node, keyword: str, text: object) -> Between[TextSet]:
    """The texts that a regular expression, found in `keyword`, matches somewhere."""
    if not isinstance(text, str):
        raise node.refuse(keyword, f"{text!r} is no regular expression; it needs a string")
    try:
        return _pattern(text)
    except UnsupportedSchema as error:
        raise node.refuse(keyword, error.why) from error


@lru_cache(maxsize=1024)
def _pattern(text: str) -> Between[TextSet]:
    return pattern_texts(text, pointer="")


def _lengths(node: Node) -> Formula:
    least = node.count("minLength", 0)
    if "maxLength" not in node:
        return TextIn(Between.exactly(TextSet.lengths(least, None))) if least else TRUE
    most = node.count("maxLength", 0)
    near = min(most, max(least, _LONGEST))
    outer = TextSet.lengths(least, most if most == near else None)
    return TextIn(Between(TextSet.lengths(least, near), outer))


def _pattern_rule(node: Node) -> Formula:
    texts = pattern(node, "pattern", node["pattern"])
    return TRUE if texts.inner == TextSet.everything() else TextIn(texts)


def _format(node: Node) -> Formula:
    name, options = node["format"], node.reading.options
    if not isinstance(name, str):
        raise node.refuse("format", f"{name!r} is no name of a format")
    if options.formats == "ignore":
        return TRUE
    texts = format_texts(name)
    if texts is not None:
        return TextIn(texts)
    if options.unknown_formats == "refuse":
        raise node.refuse("format", f"{name!r} is not known")
    return TRUE


RULES = (
    Rule(
        ("minLength", "maxLength"),
        _lengths,
        "string",
        part=f"Where maxLength is over {_LONGEST}, only texts up to that length are written.",
    ),
    Rule(
        ("pattern",),
        _pattern_rule,
        "string",
        part="Look-behind, word boundaries and back-references are refused, and most look-ahead.",
    ),
    Rule(
        ("format",),
        _format,
        "string",
        part="Of most formats the common form is written; unknown ones are annotations.",
    ),
)
