"""The corpus: reproducible, valid by its own schemas, and held out where it says so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations, islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from conversing import calls, filled, functions, some
from jsonschema import Draft202012Validator

from agentkit_engine.training.corpus import scenes, shipped, spoken
from agentkit_engine.training.corpus.conversations import Conversation
from agentkit_engine.training.corpus.declaring import Declared
from agentkit_engine.training.corpus.described import Frame, Tool, held_name, held_word
from agentkit_engine.training.corpus.domains import tools
from agentkit_engine.training.corpus.inventing import VERBS, invented
from agentkit_engine.training.corpus.kinds import KINDS
from agentkit_engine.training.corpus.lexicon import Vocabulary, codes, lexicon
from agentkit_engine.training.corpus.scenes import Part, corpus
from agentkit_engine.training.corpus.tasks import Maker, Task
from agentkit_tools import calculator, clock
from agentkit_tools.todo import TodoList

# kinds whose values are entries of one vocabulary: name of the kind -> of the vocabulary
LISTED = {
    "animal": "animals", "plant": "plants", "sport": "sports", "color": "colors", "job": "jobs",
    "ingredient": "ingredients", "symptom": "symptoms", "chemical": "chemicals",
    "country": "countries", "language": "languages", "timezone": "timezones",
}  # fmt: skip
# how values look that requests say in words of their own
TURNED = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:00)?|\d\d:\d\d")
NAMED = {
    *spoken.MONTHS, *spoken.WEEKDAYS,
    *(code for name in ("currencies", "languages", "countries") for code in codes(name).values()),
}  # fmt: skip


@dataclass
class Drawn:
    """What is drawn while a test looks on."""

    declared: list[Declared] = field(default_factory=list[Declared])
    tasks: list[Task] = field(default_factory=list[Task])
    picked: set[bool] = field(default_factory=set[bool])  # of vocabularies: was it a held part


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    found = Drawn()
    declare, complete, pick = Maker.declare, Maker.complete, Vocabulary.pick

    def declaring(self: Maker, tool: Tool, **options: Any) -> Declared:
        found.declared.append(declare(self, tool, **options))
        return found.declared[-1]

    def completing(self: Maker, *arguments: Any) -> Task:
        found.tasks.append(complete(self, *arguments))
        return found.tasks[-1]

    def picking(self: Vocabulary, random: Random, *, held: bool = False) -> str:
        found.picked.add(held and self.seen != self.held)
        return pick(self, random, held=held)

    monkeypatch.setattr(Maker, "declare", declaring)
    monkeypatch.setattr(Maker, "complete", completing)
    monkeypatch.setattr(Vocabulary, "pick", picking)
    return found


@pytest.fixture(scope="module")
def many() -> list[Conversation]:
    return [*some(1, 400), *some(2, 100, held=True), *some(3, 100, shipped=1.0)]


# the same for everybody


@pytest.mark.parametrize("part", [Part(), Part(held=True, fresh=True)])
def test_the_same_seed_gives_the_same_scenes(part: Part) -> None:
    first, again, other = (list(islice(corpus(seed, part), 40)) for seed in (3, 3, 4))
    assert first == again
    assert not any(one in other for one in first)


def test_a_seed_gives_the_same_in_every_process() -> None:
    code = (
        "from itertools import islice\n"
        "from agentkit_engine.training.corpus.scenes import Part, corpus\n"
        "found = islice(corpus(3, Part(held=True)), 40)\n"
        "print([(one.tools, one.messages) for scene in found for one in scene])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    here = [(one.tools, one.messages) for one in some(3, 40, held=True)]
    assert printed == {f"{here}\n"}


# what is held out


def spelled_as(declared: Declared, name: str) -> bool:
    return declared.name.endswith(declared.style(name.split()))


def test_training_sees_no_tool_that_is_held_out(drawn: Drawn) -> None:
    some(5, 500)
    assert len({declared.name for declared in drawn.declared}) > 1500
    for declared in drawn.declared:
        named = [name for name in declared.tool.names if spelled_as(declared, name)]
        assert not declared.tool.held, declared.name
        assert not all(map(held_name, named)), declared.name


def test_training_draws_no_value_that_is_held_out(drawn: Drawn) -> None:
    some(5, 500)
    assert drawn.picked == {False}
    seen = 0
    for task in drawn.tasks:
        for handle, said in task.said.items():
            kind = task.declared.tool.argument(handle).kind
            for name, words in LISTED.items():
                if kind is KINDS[name] and isinstance(said.value, str):
                    assert said.value in lexicon(words).seen
                    seen += 1
    assert seen > 50


def test_held_out_calls_are_of_held_out_tools_and_values(drawn: Drawn) -> None:
    found = some(6, 300, held=True, shipped=0.0)
    tasks = {task.name: task.declared.tool for task in drawn.tasks}
    names = {call["name"] for one in found for call in calls(one)}
    assert len(names) > 200
    assert all(tasks[name].held for name in names)
    # held-out tools of training's domains, beside tools that training knows
    assert any(not declared.tool.held for declared in drawn.declared)
    assert drawn.picked == {False, True}


def test_fresh_requests_are_worded_as_training_never_words_any(drawn: Drawn) -> None:
    def is_last(frame: Frame, tool: Tool) -> bool:
        return set(frame.groups) <= set(tool.frames[-1].groups)

    some(7, 100, invented=0.0, shipped=0.0, fresh=True)
    assert len(drawn.tasks) > 200
    assert all(is_last(task.frame, task.declared.tool) for task in drawn.tasks)
    drawn.tasks.clear()
    some(7, 300, invented=0.0, shipped=0.0)
    assert len(drawn.tasks) > 600
    for task in drawn.tasks:
        usual = {group for frame in task.declared.tool.frames[:-1] for group in frame.groups}
        assert set(task.frame.groups) <= usual


def test_a_held_out_noun_names_no_invented_tool_of_training() -> None:
    random = Random(8)
    for held in (False, True):
        names = [invented(random, held=held).names[0] for _ in range(1500)]
        assert {held_word(name.split()[-1]) for name in names} == {held}
        assert {name.split()[0] for name in names} <= set(VERBS)
    assert any(map(held_word, VERBS))


# what is declared


def test_names_are_unique_and_many(many: list[Conversation]) -> None:
    for conversation in many:
        assert len(functions(conversation)) == len(conversation.tools)
    names = {name for one in some(9, 2500, branches=1) for name in functions(one)}
    assert len(names) >= 5_000


def test_no_request_suits_two_tools_that_are_declared_together() -> None:
    random = Random(10)
    for _ in range(200):
        cast = scenes._cast(random, Part(), 8, made_up=False)
        together = [tool for group in cast for tool in group]
        foreign = scenes._foreign(random, Part(), together)
        for one, other in combinations((*together, foreign), 2):
            assert one is not other
            assert one.domain == other.domain or not one.words & other.words
        made_up, _ = scenes._cast(random, Part(), 8, made_up=True)
        assert len({tool.names[0] for tool in made_up}) == 8


def test_every_declaration_is_a_good_schema(many: list[Conversation]) -> None:
    for conversation in many[::4]:
        for function in functions(conversation).values():
            Draft202012Validator.check_schema(function["parameters"])


def test_the_shipped_tools_are_declared_word_for_word(tmp_path: Path) -> None:
    todo = TodoList(tmp_path / "todo.sqlite3").tools()
    plugins = [*calculator.toolset.tools, *clock.toolset.tools, *todo]
    declared = [one.declaration["function"] for group in shipped.TOOLSETS for one in group]
    assert declared == [
        {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in plugins
    ]
    # a dict is equal in any order, a prompt is not
    assert [list(function["parameters"]["properties"]) for function in declared] == [
        list(tool.parameters["properties"]) for tool in plugins
    ]


def test_a_part_says_which_tools_are_declared() -> None:
    shipped_names = {one.name for group in shipped.TOOLSETS for one in group}
    only = some(11, 30, shipped=1.0)
    assert {name for one in only for name in functions(one)} == shipped_names
    few = some(11, 60, shipped=0.0, bare=0.0, most_tools=3)
    assert {len(one.tools) for one in few} == {1, 2, 3}
    other = some(11, 60, held=True, shipped=0.0, bare=0.0, least_tools=6, most_tools=6)
    assert {len(one.tools) for one in other} == {6}
    assert len(next(corpus(1, Part(branches=7)))) == 7


def test_of_a_tool_whose_name_means_nothing_the_description_tells() -> None:
    for conversation in some(12, 200, opaque=1.0, shipped=0.0, branches=1):
        for name, function in functions(conversation).items():
            *_, last = re.findall(r"[A-Z]?[a-z]+", name)  # behind the domain, if that is there
            assert function["description"]
            assert last.lower() not in function["description"].lower().split()


# what is called


def test_every_call_is_valid_by_its_schema(many: list[Conversation]) -> None:
    formats = Draft202012Validator.FORMAT_CHECKER
    count = 0
    for conversation in many:
        for schema, arguments in filled(conversation):
            Draft202012Validator(schema, format_checker=formats).validate(arguments)
            count += 1
    assert count > 2000


def strings(schema: Any, value: Any) -> Iterator[str]:
    """The strings of a value, but for those that its schema lists."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from strings(schema["properties"][key], item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(schema["items"], item)
    elif isinstance(value, str) and "enum" not in schema:
        yield value


def test_a_conversation_says_every_string_before_it_is_called(many: list[Conversation]) -> None:
    count = 0
    for conversation in many:
        told = " ".join(m["content"] for m in conversation.messages if m["role"] != "assistant")
        for schema, arguments in filled(conversation):
            for text in strings(schema, arguments):
                turned = TURNED.fullmatch(text) or text in NAMED
                turned = turned or json.dumps(text)[1:-1] in told  # of an error told in JSON
                assert text in told or turned, (text, conversation.messages)
                count += text in told
    assert count > 1500


def test_every_tool_has_requests_that_say_all_that_is_copied() -> None:
    random = Random(12)
    for tool in tools():
        task = Maker(random, held=random.random() < 0.5).task(tool)
        for handle, said in task.said.items():
            kind: Any = tool.argument(handle).kind
            items = said.value if isinstance(said.value, list) else [said.value]
            if type(getattr(kind, "kind", kind)) is type(KINDS["city"]):
                assert all(item in task.request for item in items), (task.request, said)
        assert set(task.said) == set(task.frame.handles)
        required = {a.names[0] for a in tool.arguments if a.required and a.kind is not None}
        assert required <= set(task.said)


def test_arguments_stand_in_the_order_of_the_declaration(many: list[Conversation]) -> None:
    for conversation in many:
        for schema, arguments in filled(conversation):
            order = [key for key in schema["properties"] if key in arguments]
            assert list(arguments) == order


def test_a_start_comes_before_its_end() -> None:
    tool = next(t for t in tools() if sum(a.kind is KINDS["date"] for a in t.arguments) == 2)
    first, second = (a.names[0] for a in tool.arguments if a.kind is KINDS["date"])
    found = [Maker(Random(seed)).task(tool).said for seed in range(30)]
    both = [said for said in found if {first, second} <= set(said)]
    assert both
    assert all(said[first].value <= said[second].value for said in both)
