"""What the packages promise: one sorted `__all__`, equal to the public names."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

import pytest

import agentkit
import agentkit.errors
import agentkit.testing
import agentkit_engine.errors


def public_names(module: ModuleType) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and name != "annotations"
        and not (isinstance(value, ModuleType) and value.__name__ == f"{module.__name__}.{name}")
    }


def test_all_is_sorted_and_equals_the_public_names() -> None:
    assert sorted(agentkit.__all__) == agentkit.__all__
    assert {*agentkit.__all__} == public_names(agentkit) | {"__version__"}


@pytest.mark.parametrize("module", [agentkit, agentkit.errors, agentkit.testing])
def test_every_name_promised_is_there(module: ModuleType) -> None:
    assert sorted(module.__all__) == module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_every_error_is_exported() -> None:
    assert {*agentkit_engine.errors.__all__} <= {*agentkit.errors.__all__} <= {*agentkit.__all__}


def test_the_errors_are_the_tree_that_is_drawn() -> None:
    drawing = agentkit.errors.__doc__ or ""
    lines = re.findall(r"^((?:[│ ]   )*[├└]── )?([A-Z]\w+)(?:  .*)?$", drawing, re.MULTILINE)
    drawn: dict[str, str] = {}
    above: list[str] = []
    for branch, name in lines:
        depth = len(branch) // 4
        del above[depth:]
        drawn[name] = above[-1] if above else "Exception"
        above.append(name)
    classes = {name: getattr(agentkit.errors, name) for name in agentkit.errors.__all__}
    assert drawn == {name: kind.__mro__[1].__name__ for name, kind in classes.items()}


def test_the_version_is_the_distributions_or_says_that_it_is_unknown() -> None:
    assert re.match(r"\d+", agentkit.__version__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(agentkit, "nothing")  # noqa: B009  the attribute does not exist, as types know


def test_the_decorator_wins_over_the_module_of_its_name() -> None:
    importlib.import_module("agentkit.defining.tool")
    assert callable(agentkit.tool)
