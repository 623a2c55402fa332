"""What bench_grammar.py asks of every engine: schemas, and values with the verdict they deserve.

Knows the folders that the public sets are read from and how a share over them is weighted. Must not
know engines. The sets are not part of the project; `--data` names a folder that holds them:

jsonschemabench/dev.jsonl            guidance-ai/jsonschemabench, maskbench/data
json-schema-test-suite/draft2020-12.jsonl
                                     json-schema-org/JSON-Schema-Test-Suite, one row a group
bfcl/tools.jsonl, bfcl/cases.jsonl   ShishirPatil/gorilla, berkeley-function-call-leaderboard
tau-bench/tools.jsonl                sierra-research/tau-bench
mcp-tools/github-mcp-server.jsonl    github/github-mcp-server, pkg/github/__toolsnaps__
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from json_lines import rows_of

__all__ = ["BOOKING", "SETS", "SPLIT_SIZES", "Case", "Trial", "read", "sample"]

Order = Literal["given", "declared"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A value and its verdict; `order` tells how the keys of its objects are ordered."""

    value: Any
    valid: bool
    order: Order = "given"


@dataclass(frozen=True, slots=True)
class Case:
    """One schema with its trials; `id` is unique in its set, `split` the set's own part."""

    id: str
    split: str
    schema: Any
    trials: tuple[Trial, ...] = ()


SPLIT_SIZES: Mapping[str, int] = {
    "Github_easy": 1943,
    "Github_hard": 1240,
    "Github_medium": 1976,
    "Github_trivial": 444,
    "Github_ultra": 164,
    "Glaiveai2K": 1707,
    "JsonSchemaStore": 491,
    "Kubernetes": 1064,
    "Snowplow": 403,
    "WashingtonPost": 125,
}
"""Schemas of each split in all of JSONSchemaBench (its README). Other splits have no weight."""


def _jsonschemabench(data: Path) -> Iterator[Case]:
    for row in rows_of(data / "jsonschemabench" / "dev.jsonl"):
        trials = tuple(Trial(test["data"], test["valid"]) for test in row["tests"])
        yield Case(row["id"], row["split"], row["schema"], trials)


def _suite(data: Path) -> Iterator[Case]:
    """The groups of the required tests; the optional ones are about formats and limits."""
    for row in rows_of(data / "json-schema-test-suite" / "draft2020-12.jsonl"):
        if row["split"] == "required":
            trials = tuple(Trial(test["data"], test["valid"]) for test in row["tests"])
            yield Case(row["id"], row["split"], row["schema"], trials)


def _bfcl(data: Path) -> Iterator[Case]:
    """Every tool with the ground-truth calls to it, in both orders of their keys."""
    calls: defaultdict[str, list[Any]] = defaultdict(list)
    for row in rows_of(data / "bfcl" / "cases.jsonl"):
        for call in row["calls"]:
            if call["valid"]:
                calls[call["tool"]].append(call["arguments"])
    for row in rows_of(data / "bfcl" / "tools.jsonl"):
        schema, values = row["parameters"], calls[row["id"]]
        given = [Trial(value, True) for value in values]
        declared = [Trial(_as_declared(schema, value), True, "declared") for value in values]
        yield Case(row["id"], "tools", schema, (*given, *declared))


def _tau(data: Path) -> Iterator[Case]:
    for row in rows_of(data / "tau-bench" / "tools.jsonl"):
        yield Case(f"{row['domain']}/{row['name']}", row["domain"], row["parameters"])


def _mcp(data: Path) -> Iterator[Case]:
    rows = rows_of(data / "mcp-tools" / "github-mcp-server.jsonl")
    for number, row in enumerate(rows):
        yield Case(f"{number}/{row['name']}", row["server"], row["inputSchema"])


def _as_declared(schema: Any, value: Any) -> Any:
    """The value with its keys in the order of `properties`, undeclared ones last."""
    if not isinstance(schema, dict):
        return value
    said = cast("dict[str, Any]", schema)
    if isinstance(value, list):
        items = cast("Sequence[Any]", value)
        return [_as_declared(said.get("items"), item) for item in items]
    if not isinstance(value, dict):
        return value
    members = cast("dict[str, Any]", value)
    properties: dict[str, Any] = said.get("properties", {})
    first = [name for name in properties if name in members]
    rest = [name for name in members if name not in properties]
    return {name: _as_declared(properties.get(name), members[name]) for name in first + rest}


SETS: Mapping[str, Callable[[Path], Iterator[Case]]] = {
    "jsonschemabench": _jsonschemabench,
    "suite": _suite,
    "bfcl": _bfcl,
    "tau": _tau,
    "mcp": _mcp,
}


def read(name: str, data: Path, *, limit: int | None = None) -> list[Case]:
    """The cases of a set, or `limit` of them spread evenly; raises FileNotFoundError."""
    cases = list(SETS[name](data))
    assert len({case.id for case in cases}) == len(cases), f"{name!r} repeats an id"
    return cases if limit is None else sample(cases, limit)


def sample(cases: list[Case], count: int) -> list[Case]:
    """At most `count` of the cases at even distances, so that every split has its share."""
    count = min(count, len(cases))
    return [cases[number * len(cases) // count] for number in range(count)]


_AIRPORTS = [
    *("AMS", "ATL", "BCN", "CDG", "DXB", "FRA", "HND", "JFK"),
    *("LAX", "LHR", "MAD", "SFO", "SIN", "SYD", "ZRH"),
]
_PASSENGER = {
    "type": "object",
    "properties": {
        "first_name": {"type": "string"},
        "last_name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "seat": {"enum": ["window", "aisle", "middle", "any"]},
    },
    "required": ["first_name", "last_name", "age", "seat"],
    "additionalProperties": False,
}
_CONTACT = {
    "type": "object",
    "properties": {
        "email": {"type": "string", "format": "email"},
        "phone": {"type": "string", "pattern": "^\\+[0-9]{7,15}$"},
    },
    "required": ["email", "phone"],
    "additionalProperties": False,
}
_FIELDS: dict[str, Any] = {
    "trip_type": {"enum": ["one_way", "round_trip", "multi_city"]},
    "origin": {"type": "string", "enum": _AIRPORTS},
    "destination": {"type": "string", "enum": _AIRPORTS},
    "depart_date": {"type": "string", "format": "date"},
    "return_date": {"type": "string", "format": "date"},
    "cabin": {"enum": ["economy", "premium_economy", "business", "first"]},
    "passengers": {"type": "array", "minItems": 1, "maxItems": 4, "items": _PASSENGER},
    "contact": _CONTACT,
    "max_price": {"type": "number"},
    "currency": {"enum": ["USD", "EUR", "GBP", "JPY"]},
    "bags": {"type": "integer", "minimum": 0, "maximum": 6},
    "flexible": {"type": "boolean"},
    "notes": {"type": "string"},
    "loyalty_id": {"type": ["string", "null"]},
    "request_id": {"type": "string", "format": "uuid"},
}
_BOOKED: dict[str, Any] = {
    "trip_type": "round_trip",
    "origin": "AMS",
    "destination": "JFK",
    "depart_date": "2026-03-04",
    "return_date": "2026-03-11",
    "cabin": "economy",
    "passengers": [
        {"first_name": "Ana", "last_name": "Li", "age": 33, "seat": "aisle"},
        {"first_name": "Bo", "last_name": "Li", "age": 4, "seat": "any"},
    ],
    "contact": {"email": "ana@example.com", "phone": "+31201234567"},
    "max_price": 850.5,
    "currency": "EUR",
    "bags": 2,
    "flexible": True,
    "notes": "vegan meal",
    "loyalty_id": None,
    "request_id": "123e4567-e89b-12d3-a456-426614174000",
}
BOOKING = Case(
    "booking15",
    "own",
    {
        "type": "object",
        "properties": _FIELDS,
        "required": list(_FIELDS),
        "additionalProperties": False,
    },
    (Trial(_BOOKED, True), Trial(_BOOKED | {"bags": 7}, False)),
)
"""A large tool of 15 fields, all required, as one finds in travel: what a compile may cost."""
