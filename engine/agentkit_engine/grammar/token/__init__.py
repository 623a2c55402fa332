"""Tokens: from automata over bytes to automata over a tokenizer's vocabulary.

Knows byte automata, leaves and token bytes. Must not know schemas, probabilities or models.

vocabulary   what each token writes
index        the trie of all tokens
leaves       what the tokens do inside a leaf, worked out once for a vocabulary
frontier     what they do along a skeleton
classes      which of them the automaton can't tell apart
lift         all of it together
automaton    the result
cache        finished automata on disk
"""
