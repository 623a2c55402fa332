"""Every keyword that is known, and how far it is honoured.

Knows the rules of all rooms. Must not know what any of them says. The documentation's table of
keywords is made from `KEYWORDS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from agentkit_engine.grammar.schema import (
    arrays,
    combinations,
    numbers,
    objects,
    strings,
    unevaluated,
    values,
)
from agentkit_engine.grammar.schema.drafts import Draft
from agentkit_engine.grammar.schema.rules import ALL, Rule

__all__ = ["KEYWORDS", "RULES", "Keyword"]


@dataclass(frozen=True, slots=True)
class Keyword:
    """One keyword. `note` says in a sentence what of it is not honoured.

    exact: what is written is just what it allows, as far as texts can say it. part: nothing that it
    forbids is ever written, but not all that it allows. annotation: it allows and forbids nothing.
    drafts: those in which it has a meaning; in others it is ignored.
    """

    honoured: Literal["exact", "part", "annotation"]
    note: str = ""
    drafts: frozenset[Draft] = ALL


RULES: tuple[Rule, ...] = (
    *values.RULES,
    *combinations.RULES,
    *objects.RULES,
    *arrays.RULES,
    *strings.RULES,
    *numbers.RULES,
    *unevaluated.RULES,  # last: by then a schema that leads to itself has been refused
)

_ANNOTATIONS = (
    "$anchor", "$comment", "$defs", "$dynamicAnchor", "$id", "$recursiveAnchor", "$schema",
    "$vocabulary", "contentEncoding", "contentMediaType", "contentSchema", "default", "definitions",
    "deprecated", "description", "discriminator", "example", "examples", "externalDocs", "id",
    "nullable", "readOnly", "title", "writeOnly", "xml",
)  # fmt: skip

KEYWORDS: Mapping[str, Keyword] = dict(
    sorted(
        {
            **{name: Keyword("annotation") for name in _ANNOTATIONS},
            **{
                name: Keyword("part" if rule.part else "exact", rule.part, rule.drafts)
                for rule in RULES
                for name in rule.keywords
            },
        }.items()
    )
)
