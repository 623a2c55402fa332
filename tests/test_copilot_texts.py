"""Texts of the copilot: holes marked in prompts, pieces that stay, what the model is shown."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit_engine import Engine
from agentkit_engine.server.copilot.hole import File, Hole, Old
from agentkit_engine.server.copilot.pieces import nearest, pieces, steady, to_drop
from agentkit_engine.server.copilot.sentinels import FAMILIES, Family, marked
from agentkit_engine.server.copilot.showing import Showing, Shown

texts = st.text(st.sampled_from("ab \n\t(é\U0001f600"), max_size=600)

# --- holes marked in prompts


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.before)
def test_every_family_is_read_in_both_orders(family: Family) -> None:
    before, behind, begun = "def f(a):\n  x = ", "\n  return x\n", "a +"
    space = " " if family.spaced else ""
    opened = family.before + space
    orders = {
        "PSM": f"{opened}{before}{space}{family.behind}{behind}{space}{family.middle}",
        "SPM": f"{family.behind}{behind}{space}{opened}{before}{space}{family.middle}",
        "joint": f"{opened}{family.behind}{behind}{space}{family.middle}{space}{before}",
    }
    for order, prompt in orders.items():
        found = marked(prompt)
        assert found is not None, order
        assert (found.before, found.behind) == (before, behind), order
        more = marked(f"{prompt}{begun}" if order == "joint" else f"{prompt}{space}{begun}")
        assert more is not None
        assert (more.before, more.behind) == (before + begun, behind), order


def test_codestral_s_prompt_ends_with_the_text_before_the_hole() -> None:
    found = marked("[SUFFIX]\nprint(x)[PREFIX]x = ")
    assert found is not None
    assert (found.before, found.behind) == ("x = ", "\nprint(x)")


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "def f():",
        "the words <fim_prefix> and <fim_suffix> mark a hole",
        "<fim_prefix>a<|fim_suffix|>b<|fim_middle|>",
        "<|fim_middle|><|fim_prefix|>a<|fim_suffix|>b",
    ],
)
def test_a_prompt_without_all_words_of_a_family_is_text(prompt: str) -> None:
    assert marked(prompt) is None


def test_files_before_a_marked_hole_are_files() -> None:
    found = marked(
        "<|repo_name|>shop\n<|file_sep|>a.py\nA = 1\n<|file_sep|>b.py\nB = 2\n"
        "<|file_sep|>c.py\n<|fim_prefix|>C = <|fim_suffix|>\n<|fim_middle|>"
    )
    assert found is not None
    assert found.name == "c.py"
    assert found.files == (File(name="a.py", text="A = 1\n"), File(name="b.py", text="B = 2\n"))
    assert found.before == "C = "
    loose = marked("// from d.py\n<PRE> a <SUF>b <MID>")
    assert loose is not None
    assert loose.files == (File(text="// from d.py\n"),)


# --- pieces


@given(text=texts)
def test_pieces_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert all(1 <= len(piece) <= 48 for piece in pieces(text))


@given(text=texts, more=texts)
def test_typing_at_the_end_changes_the_last_piece_alone(text: str, more: str) -> None:
    before, after = pieces(text), pieces(text + more)
    assert after[: max(0, len(before) - 1)] == before[:-1]


@given(first=st.integers(0, 99), more=st.integers(1, 40))
def test_what_is_encoded_ends_at_a_steady_place(first: int, more: int) -> None:
    assert first <= steady(first, first + more) < first + more
    places = [steady(first + typed, first + more + typed) for typed in range(32)]
    assert places == sorted(places)
    assert more < 16 or len(set(places)) <= 5


@given(length=st.integers(0, 5000), room=st.integers(0, 999))
def test_what_is_dropped_makes_the_rest_fit_and_stays_while_a_text_grows(
    length: int, room: int
) -> None:
    drop = to_drop(length, room)
    assert 0 <= drop <= length
    assert length - drop <= room
    if room >= 8:
        assert len({to_drop(length + more, room) for more in range(room // 8)}) <= 2


def test_the_nearest_text_begins_with_a_line() -> None:
    text = "".join(f"line {number}\n" for number in range(1000))
    found = nearest(text, 500)
    assert text.endswith(found)
    assert found.startswith("line ")
    assert 300 < len(found) <= 500
    assert 300 < len(nearest("x" * 5000, 500)) <= 500


# --- what is shown


@pytest.fixture
def showing(engine: Engine) -> Showing:
    return Showing(engine, most=8192)


def require_possible(engine: Engine, hole: Hole, shown: Shown) -> None:
    """It fits, and nothing is left out between what is shown before the hole and the hole."""
    encode = engine.runtime.forms.writing.encode
    denoiser = engine.runtime.denoiser
    canvas = [len(encode(text.encode())) for text in (shown.before, shown.behind)]
    width = sum(canvas) + shown.room + 1
    if not shown.several:
        assert width <= denoiser.canvas_length
    read = sum(len(encode(piece.encode())) for piece in shown.context)
    assert 1 + read + width <= denoiser.context_length
    before = "".join(shown.context) + shown.before
    assert hole.before.endswith(before) or before.endswith(hole.before)
    assert hole.behind.startswith(shown.behind)


@settings(max_examples=60, deadline=None)
@given(
    before=texts.map(lambda text: text * 5),
    behind=texts,
    room=st.none() | st.integers(1, 100),
)
def test_whatever_stands_around_a_hole_fits(
    engine: Engine, before: str, behind: str, room: int | None
) -> None:
    showing = Showing(engine, most=8192)
    hole = Hole(before=before, behind=behind, max_tokens=room)
    require_possible(engine, hole, showing.of(hole))


def test_both_sides_of_a_hole_stand_on_the_canvas(showing: Showing) -> None:
    shown = showing.of(Hole(before="the list has\n" * 9, behind="\nthings" * 9, max_tokens=8))
    assert shown.room == 8
    assert len(shown.before) > 10
    assert len(shown.behind) > 10
    assert "".join(shown.context) + shown.before == "the list has\n" * 9


def test_other_files_stand_first_and_go_first(engine: Engine, showing: Showing) -> None:
    files = (File(name="a.py", text="A = 1\n"), File(name="b.py", text="B = 2\n"))
    hole = Hole(before="C = \n" * 30, name="c.py", files=files, max_tokens=8)
    text = "".join(showing.of(hole).context)
    titles = [text.index(f"==> {name} <==\n") for name in ("a.py", "b.py", "c.py")]
    assert titles == sorted(titles)
    large = Hole(before="C = \n" * 300, name="c.py", files=files, max_tokens=8)
    shown = showing.of(large)
    require_possible(engine, large, shown)
    assert "A = 1" not in "".join(shown.context)


def test_what_is_typed_leaves_the_context_as_it_is(showing: Showing) -> None:
    """Of 400 keys few change what is encoded, and those only add to it."""
    random.seed(4)
    typed = "".join(random.choice(["foo", " ", "bar(", ")", "\n", "\n\n    "]) for _ in range(250))
    contexts = [
        showing.of(Hole(before="import this\n" + typed[:end], behind="\nend", max_tokens=8)).context
        for end in range(400)
    ]
    changes = 0
    for one, other in itertools.pairwise(contexts):
        assert other[: len(one)] == one
        changes += one != other
    assert 0 < changes < 40


def test_an_edit_shows_its_old_text_as_long_as_there_is_room(showing: Showing) -> None:
    shown = showing.of(Hole(before="a " * 50, behind=" b" * 50, old=Old(text="three things")))
    assert shown.room >= 16
    assert shown.template.kind == "edit"
    assert shown.template.old == "three things"
    huge = showing.of(Hole(before="a " * 50, behind=" b" * 50, old=Old(text="three " * 500)))
    assert huge.room < 48
