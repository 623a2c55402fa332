"""Docstrings in the three styles that people write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.defining.docstring import parse_docstring

GOOGLE = """Add an item.

    Keeps what is there.

    Args:
        text: what to do,
            in a few words
        due (datetime.date, optional): the last day: inclusive
        *rest: more

    Returns:
        the id: a number
    """
NUMPY = """Add an item.

    Keeps what is there.

    Parameters
    ----------
    text : str
        what to do,
        in a few words
    due : datetime.date, optional
        the last day: inclusive

    Returns
    -------
    int
        the id
    """
SPHINX = """Add an item.

    Keeps what is there.

    :param text: what to do,
        in a few words
    :param datetime.date due: the last day: inclusive
    :type text: str
    :returns: the id
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_description_and_parameters(text: str) -> None:
    doc = parse_docstring(text)
    assert doc.description == "Add an item.\n\nKeeps what is there."
    assert doc.parameters["text"] == "what to do, in a few words"
    assert doc.parameters["due"] == "the last day: inclusive"
    assert doc.parameters.keys() <= {"text", "due", "rest"}


def test_several_numpy_parameters_share_a_description() -> None:
    doc = parse_docstring("Add.\n\nParameters\n----------\na, b : int\n    a summand\n")
    assert doc.parameters == {"a": "a summand", "b": "a summand"}


@pytest.mark.parametrize("text", [None, "", "   \n  "])
def test_no_docstring_is_an_empty_one(text: str | None) -> None:
    doc = parse_docstring(text)
    assert (doc.description, doc.parameters) == ("", {})


def test_a_word_with_a_colon_is_no_section() -> None:
    text = "Do this:\n  that\nand be done"
    assert parse_docstring(text).description == text


@given(st.text(alphabet="aA:-* \n()rgsx", max_size=60))
def test_no_text_breaks_it(text: str) -> None:
    parse_docstring(text)
    parse_docstring(f"Args:\n{text}\nParameters\n----------\n{text}")
