"""The grammar's face: from what is asked for to an automaton over tokens.

Knows the order in which the rooms are used, and which results are kept on disk. Must not know how
any of them works.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from agentkit_engine.errors import TemplateError, UnsatisfiableSchema
from agentkit_engine.grammar.machine.automaton import ByteAutomaton
from agentkit_engine.grammar.machine.compilation import (
    content_automaton,
    leaf_automaton,
    value_automaton,
)
from agentkit_engine.grammar.machine.repetition import repeats_itself
from agentkit_engine.grammar.schema.document import Document
from agentkit_engine.grammar.schema.options import Options
from agentkit_engine.grammar.schema.reader import Reader
from agentkit_engine.grammar.sources import schema_of
from agentkit_engine.grammar.text.regex import pattern_texts
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.text.writing import text_leaf
from agentkit_engine.grammar.token.automaton import TokenAutomaton
from agentkit_engine.grammar.token.cache import Cache, key_of
from agentkit_engine.grammar.token.index import LARGE
from agentkit_engine.grammar.token.lift import lift, on_tokens
from agentkit_engine.grammar.token.vocabulary import Vocabulary
from agentkit_engine.grammar.truth import Between
from agentkit_engine.syntax import JSON, Syntax, syntax_of

__all__ = ["compile_choice", "compile_regex", "compile_schema", "compile_text", "schema_automaton"]

_DEFAULTS = Options()


def schema_automaton(
    schema: Any,
    *,
    syntax: Syntax | str = JSON,
    root: Any = None,
    pointer: str = "",
    content_only: bool = False,
    options: Options = _DEFAULTS,
    documents: Mapping[str, Any] | None = None,
) -> ByteAutomaton:
    """The byte strings that write a valid value.

    Args:
        schema: a JSON Schema (drafts 4 to 2020-12), or a type that pydantic makes one of.
        syntax: how values are written, or the name of that: "json", "spaced" or "gemma".
        root: the document that references point into, if `schema` is only a part of it.
        pointer: where in `root` the schema lies (JSON pointer).
        content_only: leaves off the quotes of a schema whose values are all strings.
        documents: further documents that references may lead to, by URI.

    Raises:
        UnsupportedSchema: a keyword can't be guaranteed; names it and its place.
        UnsatisfiableSchema: no value is valid, or none that can be written.
        SchemaTooLarge: the limits in `options` would be passed.
    """
    said = schema_of(schema)
    document = Document(said if root is None else schema_of(root), documents=documents)
    make = content_automaton if content_only else value_automaton

    def made(options: Options) -> ByteAutomaton:
        reader = Reader(document, options)
        place = reader.root if root is None else reader.place(pointer)
        return make(reader, place, syntax_of(syntax))

    try:
        return made(options)
    except UnsatisfiableSchema as error:
        if not options.open:
            with suppress(TemplateError):
                made(replace(options, open=True))
                hint = "but for values it doesn't speak of, which Options(open=True) writes"
                why = f"{error.why}, {hint}" if error.why else hint
                error = UnsatisfiableSchema(error.pointer, why)
        raise error from None


def compile_schema(
    schema: Any,
    *,
    vocabulary: Vocabulary,
    syntax: Syntax | str = JSON,
    root: Any = None,
    pointer: str = "",
    content_only: bool = False,
    options: Options = _DEFAULTS,
    documents: Mapping[str, Any] | None = None,
    cache: Cache | None = None,
) -> TokenAutomaton:
    """The token sequences that write a valid value; see `schema_automaton` for the arguments.

    Args:
        cache: where to look for the automaton first, and keep it afterwards; None: in the default
            folder if the vocabulary is large, else nowhere. `Cache(limit=0)` keeps nothing.

    Raises:
        TemplateError: the vocabulary can't write any valid value.
    """
    syntax = syntax_of(syntax)
    make = partial(
        schema_automaton,
        schema_of(schema),
        syntax=syntax,
        root=root,
        pointer=pointer,
        content_only=content_only,
        options=options,
        documents=documents,
    )
    if cache is None:
        if len(vocabulary.ids) < LARGE:
            return lift(make(), vocabulary)
        cache = Cache()
    said = json.dumps([make.args, root, pointer, content_only, documents and dict(documents)])
    key = key_of(said, repr(options), repr(syntax), vocabulary.digest)
    test = partial(repeats_itself, syntax, lru_cache(maxsize=1)(make))
    found = cache.automaton(key, repeats=on_tokens(test, vocabulary))
    if found is None:
        found = lift(make(), vocabulary)
        cache.put_automaton(key, found)
    return found


def compile_regex(
    pattern: str, *, vocabulary: Vocabulary, without: Sequence[str] = ()
) -> TokenAutomaton:
    """Raw text that `pattern` matches from end to end; raises UnsupportedSchema ('pattern').

    Args:
        without: texts that are ruled out.
    """
    texts = pattern_texts(f"^(?:{pattern})$", pointer="").inner - TextSet.of(without)
    return _raw(texts, vocabulary, f"the pattern {pattern!r} matches no text")


def compile_choice(options: Sequence[str], *, vocabulary: Vocabulary) -> TokenAutomaton:
    """Exactly one of the options, as raw text."""
    for option in options:
        try:
            option.encode()
        except UnicodeEncodeError as error:
            raise TemplateError(f"{option!r} holds a lone surrogate; remove it") from error
    return _raw(TextSet.of(options), vocabulary, "there are no options to choose from")


def compile_text(
    *,
    vocabulary: Vocabulary,
    min_length: int = 0,
    max_length: int | None = None,
    without: Sequence[str] = (),
) -> TokenAutomaton:
    """Any raw text of `min_length` to `max_length` characters, without control characters.

    Args:
        without: texts that are ruled out.
    """
    texts = TextSet.lengths(min_length, max_length) - TextSet.of(without)
    return _raw(texts, vocabulary, f"no length from {min_length} to {max_length}")


def _raw(texts: TextSet, vocabulary: Vocabulary, why: str) -> TokenAutomaton:
    every = text_leaf((Between.exactly(texts),), JSON, place="raw")
    leaf = every.renamed(lambda label: label if all(label) else None)
    if leaf is None:
        raise UnsatisfiableSchema("", why)
    return lift(leaf_automaton(leaf), vocabulary)
