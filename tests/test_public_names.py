"""What the packages promise: one sorted `__all__`, equal to the public names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import agentkit
import agentkit.errors
import agentkit.testing
import agentkit_engine
import agentkit_engine.errors


def imported_for_type_checkers(module: ModuleType) -> set[str]:
    """The names that a type checker sees imported."""
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    checked = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for block in checked for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names} - {"Any"}


@pytest.mark.parametrize("module", [agentkit, agentkit_engine])
def test_what_is_promised_is_what_type_checkers_see(module: ModuleType) -> None:
    promised = {*module.__all__} - {"__version__"}
    assert sorted(module.__all__) == module.__all__
    assert promised == imported_for_type_checkers(module) == {*module._HOME_OF}


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


def test_a_name_is_loaded_when_it_is_asked_for() -> None:
    program = (
        "import sys, agentkit; assert 'agentkit.agent' not in sys.modules; agentkit.Agent; "
        "assert 'agentkit.agent' in sys.modules and 'agentkit.stores.sqlite' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
