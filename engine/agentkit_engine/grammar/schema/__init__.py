"""Reading schemas: from JSON Schema documents to formulas over simple statements.

Knows how JSON Schema is spelled, in five drafts. Must not know how values are written, or tokens.

drafts, document         what stands where: drafts, places, references
options                  what a reader of schemas may choose
rules, objects, arrays, strings, numbers, values, combinations, unevaluated, names
                         what each keyword says
keywords, reader         all of it together
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """The module `schema.py` beside this package, which the package hides until it goes."""
    import sys
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    if name != "schema_automaton":
        raise AttributeError(name)
    old = "agentkit_engine.grammar.old_schema"
    if old not in sys.modules:
        spec = spec_from_file_location(old, Path(__file__).parents[1] / "schema.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[old] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[old])
    return sys.modules[old].schema_automaton
