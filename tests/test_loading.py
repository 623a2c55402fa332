"""How a command line names an agent, and what it is told where that does not work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentkit import DefinitionError
from agentkit.terminal.loading import load_agent, load_deps

AGENT = "from agentkit import Agent\nagent = Agent(name={name!r})\n"
Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a file into the folder that the command runs in; gives its path."""
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), dict(sys.modules)

    def write(name: str, text: str) -> str:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return str(file)

    yield write
    sys.path[:] = path
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]


def told(reference: str) -> str:
    with pytest.raises(DefinitionError) as info:
        load_agent(reference)
    return str(info.value)


def test_a_file_and_a_name(write: Write) -> None:
    file = write("bureau.py", AGENT.format(name="one") + "other = Agent(name='two')\n")
    assert load_agent(f"{file}:other").name == "two"
    assert load_agent("bureau.py:agent").name == "one"
    assert load_agent("bureau:agent") is load_agent("bureau.py:agent")


def test_the_only_agent_needs_no_name(write: Write) -> None:
    file = write("bureau.py", AGENT.format(name="one"))
    assert load_agent(file).name == "one"
    assert load_agent("bureau").name == "one"


def test_a_file_imports_its_neighbours(write: Write) -> None:
    write("apart/helping.py", "NAME = 'helped'\n")
    file = write("apart/bureau.py", "from helping import NAME\n" + AGENT.format(name="x"))
    assert load_agent(f"{file}:agent").name == "x"
    assert sys.modules["helping"].NAME == "helped"


def test_a_file_of_a_package_is_a_part_of_it(write: Write) -> None:
    write("src/bureau/__init__.py", "")
    write("src/bureau/names.py", "NAME = 'packed'\n")
    file = write(
        "src/bureau/desk.py",
        "from agentkit import Agent\nfrom bureau.names import NAME\nagent = Agent(name=NAME)\n",
    )
    assert load_agent(f"{file}:agent").name == "packed"
    assert "bureau.desk" in sys.modules


def test_a_file_may_be_called_like_a_module(write: Write) -> None:
    json = sys.modules["json"]
    file = write("json.py", AGENT.format(name="mine"))
    assert load_agent(f"{file}:agent").name == "mine"
    assert sys.modules["json"] is json


def test_dataclasses_of_a_file_can_be_looked_up(write: Write) -> None:
    file = write(
        "bureau.py",
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from agentkit import Agent\n"
        "@dataclass\n"
        "class Room:\n    beds: int\n"
        "agent = Agent(output=Room)\n",
    )
    assert load_agent(file).name == "agent"


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        ("nowhere.py:agent", "there is no file 'nowhere.py'; write FILE.py:NAME or MODULE:NAME"),
        ("nowhere.inner:agent", "there is no module 'nowhere.inner', neither here nor installed"),
        (":agent", "':agent' names no agent"),
        ("bureau.py:a b", "'bureau.py:a b' names no agent"),
        ("bureau.py:clerk", "'bureau.py' has no agent 'clerk'; its agents: 'one', 'two'"),
        (
            "bureau.py:name",
            "'name' of 'bureau.py' is no agent but of type 'str'; its agents: 'one'",
        ),
        ("bureau.py", "'bureau.py' has several agents or none; say which, as bureau.py:NAME"),
        ("empty.py:agent", "'empty.py' has no agent 'agent'; its agents: none"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    reference: str, complaint: str, write: Write
) -> None:
    write("bureau.py", "from agentkit import Agent\none = Agent()\ntwo = Agent()\nname = 'x'\n")
    write("empty.py", "")
    assert complaint in told(reference)


def test_an_import_that_fails_is_told_with_the_file_s_own_lines(write: Write) -> None:
    write("helping.py", "def help():\n    raise ValueError('no desk')\n")
    write("bureau.py", "import helping\n\nhelping.help()\n")
    for reference in ("bureau.py:agent", "bureau:agent"):
        first, *lines = told(reference).splitlines()
        assert first.endswith("failed: ValueError: no desk")
        assert [line.strip() for line in lines if "File" not in line and "^" not in line] == [
            "helping.help()",
            "raise ValueError('no desk')",
        ]
        frames = [line for line in lines if "File" in line]
        assert ["bureau.py" in frames[0], "helping.py" in frames[1]] == [True, True]


def test_a_line_that_is_no_python_is_shown(write: Write) -> None:
    write("bureau.py", "agent = Agent(\n")
    said = told("bureau.py:agent")
    assert said.startswith("importing 'bureau.py' failed: SyntaxError: '(' was never closed")
    assert "agent = Agent(" in said
    assert 'bureau.py", line 1' in said


def test_a_module_that_a_file_misses_is_named(write: Write) -> None:
    write("bureau.py", "import nothing_of_that_name\n")
    for reference in ("bureau.py:agent", "bureau:agent"):
        assert "No module named 'nothing_of_that_name'" in told(reference)


def test_a_file_that_exits_ends_nothing(write: Write) -> None:
    write("bureau.py", "raise SystemExit('no')\n")
    assert "SystemExit: no" in told("bureau.py:agent")


def test_an_agent_defined_wrongly_says_how(write: Write) -> None:
    write("bureau.py", "from agentkit import Agent\nagent = Agent(retries=-1)\n")
    said = told("bureau.py:agent")
    assert "failed: retries=-1 is too small" in said
    assert "agent = Agent(retries=-1)" in said


def test_a_file_mended_meanwhile_is_read_again(write: Write) -> None:
    write("bureau.py", "raise ValueError\n")
    assert "ValueError" in told("bureau.py:agent")
    write("bureau.py", AGENT.format(name="mended"))
    assert load_agent("bureau.py:agent").name == "mended"


def test_deps_are_a_value_or_made_by_a_function(write: Write) -> None:
    write(
        "bureau.py",
        AGENT.format(name="x")
        + "room = 7\ndef key(): return 'k'\ndef lost(): raise OSError('no')\n",
    )
    assert load_deps("bureau.py:agent", "room") == 7
    assert load_deps("bureau.py:agent", "key") == "k"
    with pytest.raises(DefinitionError, match=r"'bureau\.py' has no 'door' to give to the runs"):
        load_deps("bureau.py:agent", "door")
    with pytest.raises(DefinitionError, match=r"'lost' of 'bureau\.py' failed: OSError: no"):
        load_deps("bureau.py:agent", "lost")
