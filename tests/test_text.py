"""Texts: sets of strings, what `pattern` and `format` mean, and how strings are written."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agentkit_engine.errors import SchemaTooLarge, UnsupportedSchema
from agentkit_engine.grammar.leaf import Leaf
from agentkit_engine.grammar.text.characters import ALL, characters, complement, span, union
from agentkit_engine.grammar.text.expression import (
    ANY_TEXT,
    EMPTY,
    END,
    NOTHING,
    START,
    Expression,
    choice,
    literal,
    one_of,
    repeat,
    sequence,
)
from agentkit_engine.grammar.text.formats import FORMATS, format_texts
from agentkit_engine.grammar.text.regex import pattern_texts
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.text.writing import text_leaf
from agentkit_engine.grammar.truth import Between, Truth
from agentkit_engine.syntax import GEMMA, JSON, Syntax

YES, UNKNOWN, NO = Truth.YES, Truth.UNKNOWN, Truth.NO
SHORT = ["".join(text) for size in range(4) for text in itertools.product("ab\né", repeat=size)]
"""All texts of up to three of four characters."""


def exactly(pattern: str) -> Between[TextSet]:
    """The texts that match from end to end, of a pattern that all dialects read alike."""
    return Between.exactly(pattern_texts(pattern, pointer="", whole=True).inner)


# sets of characters


def test_sets_of_characters_leave_surrogates_out() -> None:
    assert complement(()) == ALL == complement(complement(ALL))
    assert span(0xD000, 0xE000) == ((0xD000, 0xD7FF), (0xE000, 0xE000))
    assert union(characters("b"), characters("ac")) == span(0x61, 0x63)


# sets of texts


def repeated(item: Expression, bounds: tuple[int, int | None]) -> Expression:
    return repeat(item, *bounds)


@st.composite
def expressions(draw: st.DrawFn) -> Expression:
    """Expressions over the characters of SHORT, with anchors in any place."""
    leaves: st.SearchStrategy[Expression] = st.sampled_from(
        [EMPTY, NOTHING, START, END, ANY_TEXT, literal("ab"), one_of(complement(span(0x61, 0x7A)))]
        + [one_of(characters(one)) for one in ("a", "b", "\n", "aé")]
    )

    def inside(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        pairs = st.lists(inner, min_size=1, max_size=3)
        bounds = st.sampled_from([(0, None), (1, None), (0, 1), (2, 2), (0, 2), (2, None)])
        return (
            pairs.map(choice)
            | pairs.map(lambda parts: sequence(*parts))
            | st.builds(repeated, inner, bounds)
        )

    return draw(st.recursive(leaves, inside, max_leaves=6))


def text_sets() -> st.SearchStrategy[TextSet]:
    return (
        expressions().map(TextSet.built)
        | st.sets(st.sampled_from(SHORT), max_size=6).map(TextSet.of)
        | st.tuples(st.integers(0, 3), st.integers(0, 3) | st.none()).map(
            lambda pair: TextSet.lengths(*pair)
        )
    )


@given(text_sets(), text_sets())
def test_sets_combine_text_by_text(left: TextSet, right: TextSet) -> None:
    both, either, rest, others = left & right, left | right, left - right, ~left
    for text in SHORT:
        here, there = text in left, text in right
        assert (text in both) == (here and there)
        assert (text in either) == (here or there)
        assert (text in rest) == (here and not there)
        assert (text in others) == (not here)


@given(text_sets(), text_sets())
def test_sets_are_equal_exactly_if_their_texts_are(left: TextSet, right: TextSet) -> None:
    difference = (left - right) | (right - left)
    assert (left == right) == difference.empty
    again = (left & right) | (left - right)
    assert again == left
    assert hash(again) == hash(left)
    assert ~~left == left


def test_a_set_does_not_show_how_it_was_made() -> None:
    assert exactly("[ab]{1,2}").inner == TextSet.of(["a", "b", "aa", "ab", "ba", "bb"])
    assert exactly("(?:a|ab)(?:c|bcd)").inner == TextSet.of(["ac", "abcd", "abc", "abbcd"])
    assert TextSet.lengths(0) == TextSet.everything() == exactly("[^]*").inner
    assert TextSet.lengths(3, 2) == TextSet.nothing() == TextSet.of([])
    assert TextSet.lengths(1) == ~TextSet.of([""])
    many = [f"{number:04}" for number in range(3000)]
    assert TextSet.of(many) == exactly("[0-2][0-9]{3}").inner
    assert TextSet.of(many) - exactly("[12].*").inner == TextSet.of(many[:1000])


def test_lengths_count_code_points() -> None:
    two = TextSet.lengths(2, 2)
    assert [text in two for text in ("a", "é🐲", "abc")] == [False, True, False]


def test_no_set_holds_a_surrogate() -> None:
    assert "\ud800" not in TextSet.everything()
    assert "a\udfff" not in ~TextSet.of(["b"])
    assert "\ud800" not in exactly("[^a]+").inner
    assert "\ud800" not in ~exactly("a+").inner
    assert TextSet.of(["\ud800"]).empty
    assert pattern_texts(r"^\ud800$", pointer="").outer.empty


def test_texts_are_listed_shortest_first() -> None:
    assert TextSet.of(["b", "é", "aa", ""]).strings(4) == ["", "b", "é", "aa"]
    assert TextSet.of(["a", "b"]).strings(1) is None
    assert exactly("[0-9]{2}|x").inner.strings(101) == ["x", *(f"{one:02}" for one in range(100))]
    assert exactly("[0-9]{4}").inner.strings(9999) is None
    assert len(exactly("[0-9]{4}").inner.strings(10_000) or []) == 10_000
    assert exactly("a*").inner.strings(10**6) is None
    assert TextSet.everything().strings(10**6) is None


@pytest.mark.parametrize(
    "pattern",
    ["[01]*1[01]{30}", "a{1000000}", "(((a{99}){99}){99}){99}", "((a?){500}){500}",
     "^(.{0,3}a){2000}$", "(a|b|ab){30000}", "x{9999999999999999999}"],
)  # fmt: skip
def test_what_would_take_too_long_is_too_large(pattern: str) -> None:
    with pytest.raises(SchemaTooLarge):
        pattern_texts(pattern, pointer="")


def test_too_many_lengths_are_too_large() -> None:
    with pytest.raises(SchemaTooLarge):
        TextSet.lengths(0, 1_000_000)


# patterns


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """Patterns that Python compiles, with anchors in any place but under a quantifier."""
    atoms = ["a", "b", ".", "é", r"\d", r"\w", r"\s", r"\W", r"\n", r"\x61", r"\u00e9"]
    atoms += ["[ab]", "[^a]", r"[^\w]", r"[\s\d]", r"[a-c\n]"]
    quantifiers = ["", "", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "{1,2}?"]

    def inside(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        grouped = st.builds(
            "{}{}){}".format, st.sampled_from(["(", "(?:"]), inner, st.sampled_from(quantifiers)
        )
        return (
            grouped
            | st.lists(inner | st.sampled_from("^$"), max_size=3).map("".join)
            | st.lists(inner, min_size=2, max_size=3).map("|".join)
        )

    single = st.builds("{}{}".format, st.sampled_from(atoms), st.sampled_from(quantifiers))
    found = draw(st.recursive(single | st.sampled_from("^$"), inside, max_leaves=6))
    ahead = draw(st.sampled_from(["", "", "", "^(?=", "^(?!"]))
    return f"{ahead}{draw(single)}){found}" if ahead else found


@given(patterns(), st.lists(st.text("ab1\n\r é\u2028_", max_size=6), max_size=20))
def test_patterns_search_as_python_does(pattern: str, texts: list[str]) -> None:
    found = pattern_texts(pattern, pointer="")
    search = re.compile(pattern).search
    for text in SHORT + texts:
        if text in found.inner:
            assert search(text)
        if search(text):
            assert text in found.outer


@pytest.mark.parametrize(
    ("pattern", "matched", "unmatched"),
    [
        ("b", ["b", "abc"], ["", "ac"]),
        ("^a|b$", ["ax", "xb"], ["xa", "bx"]),
        ("(^a|b)c", ["ac!", "xbc"], ["xac"]),
        ("^^a", ["ab"], ["ba"]),
        ("(a|b$)+", ["a", "xb"], ["bx"]),
        ("a(b|$)", ["ab", "a"], ["ac"]),
        ("x*^a", ["ab"], ["xa"]),
        ("^$", [""], ["a"]),
        (r"^\cJ\x41\u0042\u{1F432}\0$", ["\nAB🐲\0"], ["JAB🐲0"]),
        (r"^[\b\-\]\\^]$", ["\b", "-", "]", "\\", "^"], ["b"]),
        ("^[^]$", ["\n", "🐲"], ["", "ab"]),
        ("^[a-]$", ["a", "-"], ["b"]),
        ("^🐲*$", ["", "🐲🐲"], ["🐲a"]),
        ("^(?<year>[0-9]{2,})-(?:x|y)+?$", ["12-xy"], ["1-x", "12-"]),
        (r"^\p{Letter}+\p{Nd}\P{L}$", ["aé1!"], ["1a1!", "a1b"]),
        (r"^\p{gc=Lu}\p{ASCII}\p{Any}$", ["Éa🐲"], ["éa🐲", "Éé🐲"]),
        ("^(?!no$|x).*$", ["", "not"], ["no", "xy"]),
        ("^(?=.*[0-9])(?=.*[a-z]).{2,4}$|!", ["a1", "1xx9", "!"], ["aa", "a1234"]),
        ("^{a}$", ["{a}"], ["a"]),
    ],
)
def test_patterns(pattern: str, matched: list[str], unmatched: list[str]) -> None:
    found = pattern_texts(pattern, pointer="")
    assert [text for text in matched if text not in found.inner] == []
    assert [text for text in unmatched if text in found.outer] == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^\d$", "٣"),  # a digit to Python
        (r"^\W$", "é"),  # a letter to Python
        (r"^\s$", "\ufeff"),  # a space to ECMA-262
        (r"^\s$", "\x1c"),  # a space to Python
        ("^.$", "\r"),  # a line end to ECMA-262
        ("^a$", "a\n"),  # Python's `$` holds before it
        ("a$\\n", "a\n"),
        ("^(a|b$)\\n$", "b\n"),
        (r"^\ud83d\udc32$", "🐲"),  # two characters to Python
        (r"^\p{L}$", "\U000e0fff"),  # may be assigned one day
    ],
)
def test_what_dialects_read_differently_is_unknown(pattern: str, text: str) -> None:
    found = pattern_texts(pattern, pointer="")
    assert text in found.outer
    assert text not in found.inner


def test_an_anchor_that_can_never_match_leaves_its_branch_empty() -> None:
    assert pattern_texts("a^b", pointer="").outer.empty
    assert pattern_texts("$b|c^", pointer="").outer.empty
    assert pattern_texts("(x|a^)b", pointer="") == pattern_texts("xb", pointer="")


@pytest.mark.parametrize(
    "pattern",
    [r"(a)\1", r"\bword", "a(?=b)", "(?<!a)b", "(?i)a", "a++", "(a", "a)", "[a", "*a", "a{2,1}",
     "[b-a]", r"[\d-z]", r"\p{Greek}", r"\q", "a{,3}", "^*", "[]a]", "\\", r"\u{110000}"],
)  # fmt: skip
def test_patterns_without_one_regular_meaning_are_refused(pattern: str) -> None:
    with pytest.raises(UnsupportedSchema) as caught:
        pattern_texts(pattern, pointer="/a/pattern")
    assert (caught.value.keyword, caught.value.pointer) == ("pattern", "/a/pattern")


# formats


def sampled(texts: TextSet, chance: random.Random, *, turns: int) -> str:
    """A random text: `turns` random characters, then a shortest way out."""
    automaton = texts.automaton
    far = automaton.states
    before: list[int] = []
    ahead = [0 if label else far for label in automaton.labels]
    while before != ahead:
        before = ahead
        ahead = [
            min(here, 1 + min(ahead[to] for to in row))
            for here, row in zip(ahead, automaton.rows, strict=True)
        ]
    codes = [*range(0x20, 0x7F), 0xE9, 0x1F432]
    state, text = 0, ""
    while not automaton.labels[state] or len(text) < turns:
        moves = [(automaton.rows[state][automaton.columns[code]], code) for code in codes]
        nearest = min(ahead[to] for to, _ in moves)
        if nearest >= far:
            break
        limit = far - 1 if len(text) < turns else nearest
        state, code = chance.choice([move for move in moves if ahead[move[0]] <= limit])
        text += chr(code)
    return text


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_formats_pass_the_checks_of_jsonschema(name: str) -> None:
    texts = format_texts(name)
    assert texts is not None
    conforms: Callable[[str, str], bool] = Draft202012Validator.FORMAT_CHECKER.conforms
    chance = random.Random(7)
    for turns in [0, 2, 5, 10, 20, 40, 80] * 4:
        text = sampled(texts.inner, chance, turns=turns)
        assert text in texts.inner
        assert text in texts.outer
        assert conforms(text, name), text


@pytest.mark.parametrize(
    ("name", "written", "unwritten"),
    [
        ("date", ["2024-02-29", "2000-02-29", "0001-01-01", "1999-12-31"],
         ["2023-02-29", "1900-02-29", "2024-04-31", "0000-01-01", "2024-1-01", "٢024-01-01"]),
        ("time", ["00:00:00Z", "23:59:59.123+23:59"], ["24:00:00Z", "12:00:60Z", "12:00:00"]),
        ("date-time", ["2024-02-29T10:20:30.5-08:00"], ["2023-02-29T10:20:30Z", "2024-02-29"]),
        ("duration", ["P1Y2M3DT4H5M6S", "PT36H", "P4W"], ["P", "PT", "P1DT", "P1Y2W", "P1Y2D"]),
        ("email", ["joe.o'neil+x@a-b.example"], ["joe", "a..b@c", "@a", "a@-b", ".a@b"]),
        ("hostname", ["www.example.com", "x1", "a" * 63], ["-a", "a.", "a" * 64, "a_b", "xn--x"]),
        ("ipv4", ["192.0.2.255", "0.0.0.0"], ["192.0.2.256", "1.2.3", "01.2.3.4"]),
        ("ipv6", ["::", "::1", "1:2:3:4:5:6:7:8", "fe80::A:0", "::ffff:1.2.3.4", "1:2:3:4:5:6:7::"],
         ["1:2:3:4:5:6:7", ":", "1::2::3", "12345::", "::1%eth0", "1:2:3:4:5:6:7:8::"]),
        ("uri", ["https://u@ex.com:80/a/b?q=1#f", "urn:a:b", "mailto:a@b"],
         ["/a", "ex.com", "http://a b", "http://é", "http://a/%4"]),
        ("uri-reference", ["", "/a?b", "../x#y", "//h/p", "a:b"], ["a b", "\\", "%zz"]),
        ("uri-template", ["/u/{id}/{?q,p*}", "{+a.b:3}"], ["{", "{a", "}", "{=a}"]),
        ("uuid", ["2EB8AA08-aa98-11ea-b4aa-73b441d16380"], ["2EB8AA08aa9811eab4aa73b441d16380"]),
        ("json-pointer", ["", "/a~0b/~1//é"], ["a", "/~2", "/~"]),
        ("relative-json-pointer", ["0", "1/a", "10#"], ["", "01", "-1", "#"]),
        ("regex", ["^[a-z]+(x|y)?$", r"\d{2}\."], ["(", "a**", "[", "{"]),
    ],
)  # fmt: skip
def test_formats(name: str, written: list[str], unwritten: list[str]) -> None:
    texts = format_texts(name)
    assert texts is not None
    assert [text for text in written if text not in texts.inner] == []
    assert [text for text in unwritten if text in texts.inner] == []
    assert (texts.inner - texts.outer).empty


def test_lengths_of_hosts_are_within_every_limit() -> None:
    texts = format_texts("email")
    assert texts is not None
    assert "a" * 64 + "@b.example" in texts.inner
    assert "a" * 65 + "@b.example" not in texts.inner
    assert "a@" + "b." * 31 + "c" in texts.inner
    assert "a@" + "b." * 32 + "c" not in texts.inner


def test_few_formats_can_surely_not_be_had() -> None:
    address, uri = format_texts("ipv4"), format_texts("uri")
    assert address is not None
    assert uri is not None
    assert address.inner == address.outer
    assert uri.outer == TextSet.everything()
    assert format_texts("color") is None


# writing


def contents(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


def taken(leaf: Leaf, chance: random.Random, *, turns: int) -> bytes:
    """Random bytes as far as the leaf goes, cut back to the last end."""
    state, text, end = 0, bytearray(), 0
    for _ in range(turns):
        ways = [byte for byte in range(256) if leaf.table[state, leaf.class_of[byte]] >= 0]
        if not ways:
            break
        text.append(chance.choice(ways))
        state = int(leaf.table[state, leaf.class_of[text[-1]]])
        if leaf.label[state] >= 0:
            end = len(text)
    return bytes(text[:end])


@given(st.text(), st.text(st.characters(max_codepoint=0x7F)))
def test_every_text_can_be_written_in_json(text: str, ascii_text: str) -> None:
    leaf = text_leaf([], JSON)
    assert leaf.run(contents(text)) == leaf.run(contents(ascii_text)) == ()


@given(st.integers(), st.sampled_from([JSON, GEMMA]))
def test_whatever_is_written_reads_back_and_has_no_other_spelling(
    seed: int, syntax: Syntax
) -> None:
    written = taken(text_leaf([], syntax), random.Random(seed), turns=30)
    quoted = syntax.quote + written + syntax.quote
    assert syntax.dumps(syntax.loads(quoted)) == quoted


def test_only_one_spelling_of_a_character_is_taken() -> None:
    leaf = text_leaf([], JSON)
    for text in (
        b"\n",
        b'"',
        b"\\u0041",
        b"\\u000a",
        b"\\/",
        b"\\u001F",
        b"\xed\xa0\x80",
        b"\xc0\x80",
    ):
        assert leaf.run(text) is None


def test_a_leaf_for_any_text_is_small() -> None:
    assert text_leaf([], JSON).states <= 14
    assert text_leaf([], GEMMA).states <= 8
    assert text_leaf([Between.exactly(TextSet.everything())], JSON).states <= 14


@given(st.lists(st.tuples(text_sets(), text_sets()), max_size=3), st.lists(st.text(), max_size=5))
def test_a_text_is_labelled_with_the_truth_of_every_query(
    pairs: list[tuple[TextSet, TextSet]], texts: list[str]
) -> None:
    queries = [Between(inner & outer, outer) for inner, outer in pairs]
    leaf = text_leaf(queries, JSON)
    for text in SHORT + texts:
        truths = tuple(
            YES if text in query.inner else UNKNOWN if text in query.outer else NO
            for query in queries
        )
        assert leaf.run(contents(text)) == truths


def test_every_label_of_a_leaf_is_in_use() -> None:
    queries = [exactly("[a-z]+"), exactly("\x00+"), exactly("[A-Z]+")]
    leaf = text_leaf(queries, GEMMA)
    assert sorted(leaf.labels) == [(NO, NO, NO), (NO, NO, YES), (YES, NO, NO)]
    assert set(leaf.label.tolist()) == {-1, 0, 1, 2}


def test_raw_text_has_no_controls_but_line_feed_and_tab() -> None:
    for leaf in (text_leaf([], GEMMA), text_leaf([], JSON, place="raw")):
        assert leaf.run('\n\t"\\é🐲'.encode()) == ()
        assert [leaf.run(bytes([byte])) for byte in (0, 0x0D, 0x1F, 0x7F, 0xFF)] == [None] * 5


def test_keys_without_quotes_are_bare() -> None:
    leaf = text_leaf([exactly("a.*")], GEMMA, place="key")
    assert leaf.run(b"a.b-C_9") == (YES,)
    assert leaf.run(b"_b") == (NO,)
    for key in ("", "9a", "a b", "é", "a:"):
        assert leaf.run(key.encode()) is None
    json_leaf = text_leaf([exactly("a.*")], JSON, place="key")
    assert json_leaf is text_leaf([exactly("a.*")], JSON)


def test_lengths_count_characters_however_many_bytes_they_take() -> None:
    counted = text_leaf([Between.exactly(TextSet.lengths(0, 100))], JSON)
    assert counted.run(b"\xc3\xa9" * 100) == (YES,)
    assert counted.run(b"\xc3\xa9" * 101) == (NO,)
    assert counted.run(b"\\n" * 100) == (YES,)


def test_many_names_are_told_apart_in_one_small_leaf() -> None:
    names = [f"name_{number}" for number in range(40)]
    leaf = text_leaf([Between.exactly(TextSet.of([name])) for name in names], JSON, place="key")
    for place, name in enumerate(names):
        found = leaf.run(name.encode())
        assert found is not None
        assert [one == YES for one in found] == [place == other for other in range(40)]
    assert leaf.states < 100
