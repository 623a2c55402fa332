"""`import agentkit` is cheap: nothing heavy comes with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "transformers", "tokenizers", "safetensors", "jsonschema", "rich")


@pytest.mark.parametrize("module", ["agentkit", "agentkit.testing", "agentkit.backends"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_defining_an_agent_loads_nothing_heavy() -> None:
    program = (
        "import sys, agentkit\n"
        "def add(a: int, b: int) -> int: return a + b\n"
        "agentkit.Agent(tools=[add])\n"
        f"print(*[m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
