"""Every Python snippet of the README does what it says; the ones for a GPU at least compile."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from serving import serving

from agentkit_engine import Engine

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
GPU = "# needs a GPU"


def printed(snippet: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a snippet as a program; what it prints."""
    exec(compile(snippet, "README.md", "exec"), {"__name__": "readme"})
    return capsys.readouterr().out


def test_the_agent(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(SNIPPETS[0], capsys)
    assert "{'city': 'Lisbon', 'people': 4}" in out
    # a forward or two for the call, as many for the answer, and more where one was corrected
    assert re.search(r" [2-8]$", out.strip())


def test_the_definition(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(SNIPPETS[1], capsys) == ""


def test_the_infill(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(SNIPPETS[2], capsys)
    assert "{'city': 'Lisbon', 'people': 4}" in out
    assert out.strip().endswith("1")


def test_the_grammar_by_itself() -> None:
    program = f"{SNIPPETS[3]}\nimport sys; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"'\d{4}-\d\d-\d\d'", done.stdout)) == 3


def test_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    engine = Engine.load("embedded")
    with serving(engine) as served:
        asked = SNIPPETS[4].replace("http://127.0.0.1:8000", served.url)
        assert asked != SNIPPETS[4]
        out = printed(asked, capsys)
    engine.close()
    assert out == "city='Lisbon' people=4\n"


def test_what_needs_a_gpu_compiles() -> None:
    assert [GPU in snippet for snippet in SNIPPETS] == [False] * 5 + [True]
    ast.parse(SNIPPETS[5])


def test_no_figure_is_left_open() -> None:
    assert re.findall(r"@[A-Z]+@", README) == []


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_somewhere(target: str) -> None:
    assert (Path(__file__).parents[1] / target).exists()


@pytest.mark.parametrize("room", re.findall(r"^\| `([^|]*)` \|", README, re.MULTILINE))
def test_the_rooms_exist(room: str) -> None:
    first, *others = room.split("`, `")
    base = Path(__file__).parents[1]
    assert (base / first).exists()
    assert all((base / "engine/agentkit_engine" / other).exists() for other in others)
