"""The texts of an automaton, listed.

Knows automata over bytes. Must not know what the texts mean.
"""

from __future__ import annotations

from agentkit_engine.grammar.machine.automaton import ByteAutomaton

__all__ = ["all_texts"]

_LONGEST = 4096


def all_texts(automaton: ByteAutomaton, limit: int) -> list[bytes] | None:
    """Every text, if there are at most `limit`; else None."""
    found: list[bytes] = []
    open_: list[tuple[int, bytes]] = [(automaton.start, b"")]
    while open_:
        # every open beginning leads to at least one further text
        if len(found) + len(open_) > limit:
            return None
        state, text = open_.pop()
        if len(text) > _LONGEST:
            return None
        if automaton.ends(state):
            found.append(text)
        open_.extend((to, text + bytes([byte])) for byte, to in automaton.ways(state).items())
    return found
