"""Domain files: what their grammar admits, what is said of faults, and what the package has."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from agentkit_engine.training.__main__ import main
from agentkit_engine.training.corpus.conversations import SHARES
from agentkit_engine.training.corpus.described import held_name, held_word
from agentkit_engine.training.corpus.domains import imperatives, tools
from agentkit_engine.training.corpus.kinds import KINDS
from agentkit_engine.training.corpus.reader import CorpusError, read

GOOD = """\
# a comment
domain kitchen: Ovens and what is in them.
words vessel: pot, pan, wok, kettle

tool heat oven | warm stove
does Heat the oven.
does Bring the oven to a temperature, for a dish or without one.
arg degrees / target temperature! = number 50..250 : How hot / Temperature
arg dish = dish : What goes in
arg mode = one top (from above; upper heat) | fan : Which heat
arg loud = flag and ring a bell | quietly : Whether to ring
arg box = object : Where it goes
arg box.shelf! = integer 1..5 : Which shelf
arg box.tray / box.plate = vessel : What it stands on
say heat the oven to {degrees}[ for {dish}][ with {mode}][ {loud}][ on shelf {box.shelf}]
say {degrees} degrees, the {dish} needs it[, in the {box.tray} on shelf {box.shelf}]
gives degrees = {degrees}, minutes = integer 1..90, ready = flag
"""
SHORT = """\
domain kitchen: Ovens.
tool heat oven
does Heat it.
arg degrees! = integer 1..9 : How hot
arg dish = dish : What goes in
{}
say heat it to {{degrees}}[ for {{dish}}]
say make it {{degrees}}
"""
# a line at line 6 of SHORT, and what is said of it
LINE_FAULTS = {
    "bake a cake": "'bake' begins no statement; known: domain, words, tool",
    "domain two words: of them": "a domain is 'domain NAME",
    "words few: a, b, c": "four entries",
    "words : a, b, c, d": "a vocabulary is 'words NAME",
    "arg size": "an argument is 'arg NAME = KIND",
    "arg Size = city : X": "'Size' is not lower-case words",
    "arg size = citty : X": "no kind 'citty'; define it with 'words citty",
    "arg size = list of citty : X": "no kind 'citty'",
    "arg size = integer 1 : X": "'integer 1' is not 'integer LOW..HIGH'",
    "arg size = integer 9..1 : X": "no integer range from 9 to 1",
    "arg size = integer 0.5..2 : X": "no integer range from 0.5 to 2",
    "arg size = one a (b : X": "'a (b' is not 'VALUE' or 'VALUE (synonym; synonym)'",
    "arg size = one : X": "no kind 'one'|an enumeration is",
    "arg size = flag | : X": "one of them at least",
    "arg dish = city : X": "a second argument 'dish'",
    "say heat it to {degrees} [now": "the brackets do not match",
    "say heat it to {degrees} ]now[": "the brackets do not match",
    "say heat it to {degrees} [now [please]]": "one group is in another",
    "say heat it to {degrees": "a brace or bar in",
    "say heat|warm it to {degrees}": "a brace or bar in",
    "say [heat it]": "a request needs words outside brackets",
    "say": "a request needs words outside brackets",
    "gives degrees": "'degrees' is not 'name = KIND' or 'name = {handle}'",
    "gives degrees = hotness": "no kind 'hotness'",
}
# the same, but of the tool as a whole, which begins at line 2
TOOL_FAULTS = {
    "say heat it for {dish}": r"frame 1 must say {degrees}, outside brackets",
    "say heat it[ to {degrees}]": r"frame 1 must say {degrees}, outside brackets",
    "say heat it to {degrees} in {size}": r"frame 1 says {size}, which is no argument",
    "say heat it to {degrees}, {degrees}": "frame 1 says a value twice",
    "arg size = city : X": r"no frame says {size}",
    "arg box = object : X": "the object 'box' has no members",
    "gives size = {size}": r"gives echoes {size}, which is no argument",
}


def faults(text: str) -> list[str]:
    with pytest.raises(CorpusError) as caught:
        read(text, where="kitchen.txt")
    return str(caught.value).splitlines()


def test_a_file_is_read() -> None:
    (tool,) = read(GOOD, where="kitchen.txt")
    assert (tool.domain, tool.place) == ("kitchen", 0)
    assert tool.names == ("heat oven", "warm stove")
    assert tool.words == {"oven", "stove"}
    assert len(tool.descriptions) == 2
    degrees, dish, mode, loud, box = tool.arguments
    assert degrees.names == ("degrees", "target temperature")
    assert degrees.required
    assert degrees.descriptions == ("How hot", "Temperature")
    assert dish.kind is KINDS["dish"]
    assert not dish.required
    assert mode.kind is not None
    assert loud.kind is not None
    assert mode.kind.schema(Random(0))["enum"] == ["top", "fan"]
    assert loud.kind.schema(Random(0))["type"] == "boolean"
    assert box.kind is None
    assert [member.names for member in box.members] == [("shelf",), ("tray", "plate")]
    assert tool.argument("box.tray") is box.members[1]
    assert tool.argument("degrees") is degrees


def test_a_frame_is_cut_into_groups() -> None:
    (tool,) = read(GOOD, where="kitchen.txt")
    first, second = tool.frames
    assert [group.optional for group in first.groups] == [False, True, True, True, True]
    assert first.handles == ("degrees", "dish", "mode", "loud", "box.shelf")
    assert second.groups[0].parts == ("", "degrees", " degrees, the ", "dish", " needs it")


def test_results_are_of_a_kind_or_echo_an_argument() -> None:
    (tool,) = read(GOOD, where="kitchen.txt")
    assert [(r.name, r.echo, r.kind is None) for r in tool.results] == [
        ("degrees", "degrees", True), ("minutes", "", False), ("ready", "", False),
    ]  # fmt: skip


@pytest.mark.parametrize(("line", "told"), LINE_FAULTS.items())
def test_a_faulty_line_is_named(line: str, told: str) -> None:
    found = [fault for fault in faults(SHORT.format(line)) if fault.startswith("kitchen.txt:6: ")]
    assert len(found) == 1
    assert any(part in found[0] for part in told.split("|"))


@pytest.mark.parametrize(("line", "told"), TOOL_FAULTS.items())
def test_a_faulty_tool_is_named_at_the_line_where_it_begins(line: str, told: str) -> None:
    (found,) = faults(SHORT.format(line))
    assert found.startswith("kitchen.txt:2: tool 'heat oven': ")
    assert told in found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("domain a: b\ntool heat", "a.txt:2: the name 'heat' is not two or more lower-case words"),
        ("domain a: b\ntool Heat Oven", "a.txt:2: the name 'Heat Oven' is not"),
        ("domain a: b\ntool", "a.txt:2: a tool is 'tool NAME"),
        ("tool heat oven", "a.txt:1: a tool is 'tool NAME | OTHER NAME', behind the 'domain'"),
        ("domain a: b\nsay heat it", "a.txt:2: this statement belongs to a tool"),
        ("domain a: b\ntool heat oven\nsay x\nsay y", "a.txt:2: tool 'heat oven' needs a 'does'"),
        ("domain a: b\ntool heat oven\ndoes X.\nsay x", "a.txt:2: tool 'heat oven' needs a 'does'"),
    ],
)
def test_a_tool_that_is_none_is_named(text: str, told: str) -> None:
    with pytest.raises(CorpusError, match=r"^\S+:\d+: ") as caught:
        read(text, where="a.txt")
    assert str(caught.value).startswith(told)


def test_every_fault_of_a_file_is_told_at_its_own_line() -> None:
    second = "tool cool oven\ndoes Cool it.\nsay cool it\nsay cool it to {degrees}\n"
    found = faults(f"{SHORT.format('arg size = citty : X')}{second}")
    assert [fault.split(": ")[0] for fault in found] == ["kitchen.txt:6", "kitchen.txt:9"]


@pytest.mark.parametrize("parent", ["box", "dish"])
def test_a_member_is_of_an_object(parent: str) -> None:
    first, _ = faults(SHORT.format(f"arg {parent}.size = city : X"))
    assert first.endswith(f"the member '{parent}.size' has no object '{parent}'")


def test_a_member_has_no_name_outside_its_object() -> None:
    (fault,) = faults(GOOD.replace("box.tray / box.plate", "box.tray / plate"))
    assert fault.endswith("every name of the member 'box.tray' begins with 'box.'")


def test_the_command_line_checks_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text(GOOD)
    bad.write_text("bake a cake\n")
    main(["check", str(good)])
    shown = capsys.readouterr().out
    assert shown.startswith(f"{good}: 1 tools (0 held out), 2 frames\n")
    assert len(shown.splitlines()) == 3
    with pytest.raises(SystemExit) as ended:
        main(["check", str(bad), str(good)])
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert told.err.startswith(f"{bad}:1: 'bake' begins no statement")
    assert "1 tools" in told.out


# the files of the package


def test_there_are_many_tools_and_many_ways_of_asking() -> None:
    assert len(tools()) >= 1_500
    assert sum(len(tool.frames) for tool in tools()) >= 7_000
    assert len({name for tool in tools() for name in tool.names}) >= 4_500
    assert len({tool.names[0].split()[-1] for tool in tools()}) >= 800
    domains = Counter(tool.domain for tool in tools())
    assert len(domains) >= 15
    assert min(domains.values()) >= 60


def test_a_share_of_the_tools_is_held_out_in_every_domain() -> None:
    assert 0.05 < sum(tool.held for tool in tools()) / len(tools()) < 0.2
    assert {tool.domain for tool in tools() if tool.held} == {tool.domain for tool in tools()}


def test_no_two_tools_of_a_domain_have_one_name() -> None:
    for domain in {tool.domain for tool in tools()}:
        names = [name for tool in tools() if tool.domain == domain for name in tool.names]
        assert len(names) == len(set(names)), domain


def test_what_is_held_out_is_the_same_everywhere() -> None:
    words = ("folder", "weather", "kettle", "lamp", "mop", "unlock", "set")
    assert [word for word in words if held_word(word)] == ["folder", "kettle", "mop", "unlock"]
    # by its noun, or by its verb
    assert held_name("rename folder")
    assert held_name("unlock door")
    assert not held_name("open door")
    assert not held_name("list folder contents")


def test_a_common_verb_is_not_held_out() -> None:
    common = {"add", "find", "get", "set", "show", "start", "turn"}
    named = {tool.names[0].split()[0] for tool in tools() if not tool.held}
    assert common < named


def test_requests_begin_with_verbs_that_are_known() -> None:
    assert {"set", "find", "show"} < imperatives()
    assert not {"what", "who", "is"} & imperatives()


# what is told of them


PAGE = (Path(__file__).parents[1] / "docs" / "corpus.md").read_text("utf-8")


def test_the_page_counts_as_the_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check"])
    *domains, total = capsys.readouterr().out.splitlines()
    assert f"\n{total}\n" in PAGE
    names = [line.partition(":")[0] for line in domains]
    assert f"in {len(names)} domains of" in PAGE
    assert ", ".join(names) in " ".join(PAGE.split())


def test_the_page_names_every_kind_and_every_flow() -> None:
    assert [kind for kind in KINDS if f"`{kind}`" not in PAGE] == []
    shares = dict(re.findall(r"^\| ([a-z ]+) \| (\d+) % \|", PAGE, re.MULTILINE))
    assert shares == {kind: f"{share * 100:.0f}" for kind, share in SHARES.items()}


def test_the_page_shows_a_good_file() -> None:
    (text,) = re.findall(r"```\n(domain .*?)```", PAGE, re.DOTALL)
    (tool,) = read(text, where="page")
    assert tool.names == ("set thermostat", "adjust heating")
