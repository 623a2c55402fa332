"""Whether two schemas can share a value, which decides if `oneOf` may be written as a choice.

Knows schemas only. Must not use automata: these hold a part of a schema's values, and `oneOf` asks
about all of them, written or not. So the answer errs to one side: `disjoint` is only said of
schemas that no value at all fulfils together.
"""

from collections.abc import Iterator
from typing import Any

from agentkit_engine.grammar.keywords import Node, allowed_types, decimal, read, target
from agentkit_engine.grammar.values import Checker

__all__ = ["disjoint"]

_DEPTH = 8
_NUMBERS = {"integer", "number"}


def disjoint(left: Any, right: Any, checker: Checker, *, depth: int = _DEPTH) -> bool:
    """Whether no value fulfils both schemas; False also where that can't be told."""
    if left is False or right is False:
        return True
    if depth == 0 or left is True or right is True:
        return False
    lefts = list(_conjuncts(left, checker.root, depth))
    rights = list(_conjuncts(right, checker.root, depth))
    return (
        any(_none_valid(node, right, checker) for node in lefts)
        or any(_none_valid(node, left, checker) for node in rights)
        or any(_branches_disjoint(node, right, checker, depth) for node in lefts)
        or any(_branches_disjoint(node, left, checker, depth) for node in rights)
        or _shapes_disjoint(lefts, rights, checker, depth)
    )


def _conjuncts(schema: Any, root: Any, depth: int) -> Iterator[Node]:
    """Schemas that all hold wherever `schema` does: itself, and what it refers to."""
    if isinstance(schema, bool):
        return
    node = read(schema, "")
    yield node
    if "$ref" in node and depth > 0:
        yield from _conjuncts(target(node, root)[0], root, depth - 1)
    if "allOf" in node:
        for member, _ in node.branches("allOf"):
            yield from _conjuncts(member, root, depth - 1)


def _none_valid(node: Node, other: Any, checker: Checker) -> bool:
    values = checker.listed(node)
    return values is not None and not any(checker.valid(value, other, node) for value in values)


def _branches_disjoint(node: Node, other: Any, checker: Checker, depth: int) -> bool:
    for keyword in ("anyOf", "oneOf"):
        if keyword in node:
            branches = [branch for branch, _ in node.branches(keyword)]
            if all(disjoint(branch, other, checker, depth=depth - 1) for branch in branches):
                return True
    return False


def _shapes_disjoint(lefts: list[Node], rights: list[Node], checker: Checker, depth: int) -> bool:
    shared = set.intersection(*(set(allowed_types(node)) for node in (*lefts, *rights)))
    return all(_apart(kind, lefts, rights, checker, depth) for kind in shared)


def _apart(kind: str, lefts: list[Node], rights: list[Node], checker: Checker, depth: int) -> bool:
    """Whether no value of this type fulfils both sides."""
    if kind in _NUMBERS:
        return _ranges_apart([*lefts, *rights], "inimum", "aximum")
    if kind == "string":
        return _ranges_apart([*lefts, *rights], "inLength", "axLength")
    if kind == "array":
        return _ranges_apart([*lefts, *rights], "inItems", "axItems")
    if kind == "object":
        return _objects_apart(lefts, rights, checker, depth) or _objects_apart(
            rights, lefts, checker, depth
        )
    return False


def _ranges_apart(nodes: list[Node], low: str, high: str) -> bool:
    lows = [bound for node in nodes for key in ("m" + low, "exclusiveM" + low)
            if (bound := decimal(node, key)) is not None]  # fmt: skip
    highs = [bound for node in nodes for key in ("m" + high, "exclusiveM" + high)
             if (bound := decimal(node, key)) is not None]  # fmt: skip
    return bool(lows and highs) and max(lows) > min(highs)


def _objects_apart(lefts: list[Node], rights: list[Node], checker: Checker, depth: int) -> bool:
    """Whether a key that the left side requires is forbidden, or of another kind, on the right."""
    required = {name for node in lefts for name in node.get("required", [])}
    for name in required:
        mine = [node.get("properties", {}).get(name, True) for node in lefts]
        for node in rights:
            properties = node.get("properties", {})
            theirs = properties.get(name, node.get("additionalProperties", True))
            if any(disjoint(one, theirs, checker, depth=depth - 1) for one in (*mine, True)):
                return True
    return False
