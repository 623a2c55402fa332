"""From bytes to tokens: the token automaton of a byte automaton over a vocabulary.

Knows byte automata and vocabularies. Must not know schemas, syntaxes or probabilities. What tokens
do inside a leaf is worked out once for a vocabulary (`passages`); here it is put together with what
they do along the skeleton, and never token by token: edges carry *bundles* of tokens that go
together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from agentkit_engine.errors import TemplateError
from agentkit_engine.grammar.machine.automaton import ByteAutomaton
from agentkit_engine.grammar.token.automaton import TokenAutomaton, steps_from
from agentkit_engine.grammar.token.edges import edges_of
from agentkit_engine.grammar.token.frontier import Moves
from agentkit_engine.grammar.token.passages import passages_of
from agentkit_engine.grammar.token.sets import set_form
from agentkit_engine.grammar.token.vocabulary import Vocabulary
from agentkit_engine.patience import keep_on

__all__ = ["lift", "on_tokens"]


def lift(automaton: ByteAutomaton, vocabulary: Vocabulary) -> TokenAutomaton:
    """The token sequences whose bytes `automaton` accepts.

    Raises TemplateError if the vocabulary can't write any text of the language, SchemaTooLarge if
    the moves of its tokens inside a leaf are too many.
    """
    keep_on()
    moves = Moves(automaton)
    edges = edges_of(moves, automaton.start, passages_of(vocabulary))
    accepting = moves.accepting(automaton)
    ahead = steps_from(np.array([automaton.start]), edges.src, edges.dst, moves.states)
    behind = steps_from(np.flatnonzero(accepting), edges.dst, edges.src, moves.states)
    live = np.minimum(ahead, behind) >= 0
    if not live[automaton.start]:
        raise TemplateError(
            "this vocabulary has no tokens that write any text of the language; was it read "
            "without the symbols of the syntax?"
        )
    form = set_form(edges.among(live))
    number = np.where(live, np.cumsum(live) - 1, -1).astype(np.int32)
    return TokenAutomaton(
        class_of=form.class_of,
        src=number[form.src],
        dst=number[form.dst],
        set=form.set.astype(np.int32),
        set_first=form.sets.first.astype(np.int32),
        set_class=form.sets.item.astype(np.int32),
        start=int(number[automaton.start]),
        accepting=accepting[live],
        min_tokens=int(ahead[accepting & live].min()),
        repeats=automaton.repeats and on_tokens(automaton.repeats, vocabulary),
        strict=None if automaton.strict is None else lift(automaton.strict, vocabulary),
    )


def on_tokens(
    test: Callable[[bytes], bool], vocabulary: Vocabulary
) -> Callable[[Sequence[int]], bool]:
    """A test of texts as one of tokens; those that write nothing are passed over."""

    def tested(token_ids: Sequence[int]) -> bool:
        known = vocabulary.token_bytes
        text = b"".join(known[token] or b"" for token in token_ids)
        return bool(text) and test(text)

    return tested
