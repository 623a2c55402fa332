"""Grammars: from a schema, a pattern or a list of options to an automaton over tokens.

Knows languages and vocabularies, with numpy. Must not know canvases, probabilities or models.

truth, leaf, minimal     what all rooms speak of
text, number             sets of strings and of numbers, and how they are written
formula                  what a schema says of a value
schema                   JSON Schema -> formulas
machine                  formulas -> an automaton over bytes
token                    bytes -> tokens of a vocabulary
compile                  all of it together
sampling, inspection     random values of a schema; how far it is honoured
"""

from agentkit_engine.grammar.compile import (
    compile_choice,
    compile_regex,
    compile_schema,
    compile_text,
    schema_automaton,
)
from agentkit_engine.grammar.machine.automaton import ByteAutomaton
from agentkit_engine.grammar.sampling import sample_values
from agentkit_engine.grammar.schema.options import Options
from agentkit_engine.grammar.token.automaton import TokenAutomaton
from agentkit_engine.grammar.token.cache import Cache
from agentkit_engine.grammar.token.vocabulary import Vocabulary

__all__ = [
    "ByteAutomaton",
    "Cache",
    "Options",
    "TokenAutomaton",
    "Vocabulary",
    "compile_choice",
    "compile_regex",
    "compile_schema",
    "compile_text",
    "sample_values",
    "schema_automaton",
]
