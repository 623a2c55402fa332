"""Grammars: from a schema, a pattern or a list of options to an automaton over tokens.

Knows languages and vocabularies, with numpy. Must not know canvases, probabilities or models.

expression, construction, automaton
                         languages over bytes
characters, strings, regex, numbers, formats, keywords, values, objects, disjoint, schema
                         what is written for each part of JSON Schema
vocabulary, lift         from bytes to tokens
"""

from collections.abc import Sequence
from typing import Any

from agentkit_engine.errors import TemplateError, UnsatisfiableSchema
from agentkit_engine.grammar.automaton import ByteAutomaton
from agentkit_engine.grammar.construction import build
from agentkit_engine.grammar.expression import Expression, choice
from agentkit_engine.grammar.lift import TokenAutomaton, lift
from agentkit_engine.grammar.regex import pattern_expression
from agentkit_engine.grammar.schema import schema_automaton
from agentkit_engine.grammar.strings import PLAIN
from agentkit_engine.grammar.vocabulary import Vocabulary
from agentkit_engine.syntax import JSON, Syntax

__all__ = [
    "ByteAutomaton",
    "TokenAutomaton",
    "Vocabulary",
    "compile_choice",
    "compile_regex",
    "compile_schema",
    "compile_text",
    "schema_automaton",
]


def compile_schema(
    schema: Any,
    *,
    vocabulary: Vocabulary,
    syntax: Syntax = JSON,
    root: Any = None,
    pointer: str = "",
    content_only: bool = False,
) -> TokenAutomaton:
    """The token sequences that write a valid value; see `schema_automaton` for the options."""
    automaton = schema_automaton(
        schema, syntax=syntax, root=root, pointer=pointer, content_only=content_only
    )
    return lift(automaton, vocabulary)


def compile_regex(pattern: str, *, vocabulary: Vocabulary) -> TokenAutomaton:
    """Raw text that `pattern` matches from end to end; raises UnsupportedSchema ('pattern')."""
    expression = pattern_expression(pattern, PLAIN, whole=True)
    return _lifted(expression, vocabulary, f"the pattern {pattern!r} matches no text")


def compile_choice(options: Sequence[str], *, vocabulary: Vocabulary) -> TokenAutomaton:
    """Exactly one of the options, as raw text."""
    try:
        expression = choice([PLAIN.write(option) for option in options])
    except UnicodeEncodeError as error:
        raise TemplateError(f"the options {options!r} hold a lone surrogate; remove it") from error
    return _lifted(expression, vocabulary, "there are no options to choose from")


def compile_text(
    *, vocabulary: Vocabulary, min_length: int = 0, max_length: int | None = None
) -> TokenAutomaton:
    """Any raw text of `min_length` to `max_length` characters, without control characters."""
    expression = PLAIN.text(least=min_length, most=max_length)
    return _lifted(expression, vocabulary, f"no length from {min_length} to {max_length}")


def _lifted(expression: Expression, vocabulary: Vocabulary, why: str) -> TokenAutomaton:
    automaton = build(expression)
    if automaton.empty:
        raise UnsatisfiableSchema("", why)
    return lift(automaton, vocabulary)
