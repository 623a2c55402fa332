"""A stack that ends within a Rust library: of the helper, and of all that check by jsonschema."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from rpds import HashTrieMap

from agentkit.backends.openai.checking import Check
from agentkit.defining.schema import JsonSchema
from agentkit_engine.layouts.forms import gate
from agentkit_engine.panics import panics_as_recursion

ENDLESS = {"type": "integer", "if": {"$ref": "#"}}
NESTED = {"type": "array", "items": {"allOf": [{"allOf": [{"$ref": "#"}]}]}}
DEEP: Any = json.loads("[" * 190 + "]" * 190)


class Incomparable:
    """A key of a map that panics when it is looked up."""

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise RecursionError("too deep")


def test_a_panic_becomes_a_recursion_error() -> None:
    known = HashTrieMap({Incomparable(): 1})
    with pytest.raises(BaseException, match="__eq__ failed") as panic:
        known.get(Incomparable())
    assert not isinstance(panic.value, Exception)
    with pytest.raises(RecursionError, match="__eq__ failed"), panics_as_recursion():
        known.get(Incomparable())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError, RecursionError])
def test_all_else_is_left_as_it_is(error: type[BaseException]) -> None:
    raised = error("as it is")
    with pytest.raises(error) as found, panics_as_recursion():
        raise raised
    assert found.value is raised


def at_every_depth(work: Callable[[], Any]) -> list[Any]:
    """What comes of work that begins at many depths: some of them let the stack end in Rust."""

    def below(levels: int) -> Any:
        return below(levels - 1) if levels else work()

    return [below(levels) for levels in range(40)]


@pytest.mark.parametrize(("schema", "value"), [(ENDLESS, 5), (NESTED, DEEP)])
def test_what_can_not_be_checked_passes_the_gate(schema: dict[str, Any], value: Any) -> None:
    check = gate(schema)
    assert all(found is value for found in at_every_depth(lambda: check(value)))


@pytest.mark.parametrize(("schema", "value"), [(ENDLESS, 5), (NESTED, DEEP)])
def test_what_can_not_be_checked_is_no_fault(schema: dict[str, Any], value: Any) -> None:
    check = Check(schema)
    assert set(at_every_depth(lambda: check.fault(value))) == {""}


@pytest.mark.parametrize(("schema", "value"), [(ENDLESS, "5"), (NESTED, json.dumps(DEEP))])
def test_what_can_not_be_checked_is_not_read(schema: dict[str, Any], value: str) -> None:
    plain = JsonSchema(schema, "it")

    def why() -> str:
        with pytest.raises(ValueError, match="nest less") as refused:
            plain.read(value)
        return str(refused.value)

    assert len(set(at_every_depth(why))) == 1
