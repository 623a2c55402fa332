"""Numbers: exact sets of decimals, and leaves whose labels are true of every text they write."""

from __future__ import annotations

import functools
import json
import operator
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agentkit_engine.errors import SchemaTooLarge
from agentkit_engine.grammar.number.digits import distinct
from agentkit_engine.grammar.number.doubles import multiples_between
from agentkit_engine.grammar.number.sets import Number, NumberSet, decimal
from agentkit_engine.grammar.number.writing import number_leaf
from agentkit_engine.grammar.truth import Between, Truth

EVERYTHING = NumberSet.everything()
NOTHING = NumberSet.nothing()
INTEGERS = NumberSet.integers()
EXPONENT = re.compile(
    r"-?[1-9](\.[0-9]{0,13}[1-9])?e(-0?[5-9]|-[12]?[1-9][0-9]|\+1[6-9]|\+[12]?[2-9][0-9])"
)
TEXT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


def between(low: str | int | None, high: str | int | None) -> NumberSet:
    least, most = (None if one is None else Decimal(one) for one in (low, high))
    return NumberSet.between(least, most)


def multiples(divisor: str | int) -> NumberSet:
    return NumberSet.multiples(Decimal(divisor))


def truth(query: Between[NumberSet], number: Decimal) -> Truth:
    if number in query.inner:
        return Truth.YES
    return Truth.UNKNOWN if number in query.outer else Truth.NO


def written(text: str, *, whole_points: bool, whole_digits: int = 15) -> bool:
    """The general rule: 15 digits, six places, no minus zero, no idle zeros."""
    whole, _, fraction = text.removeprefix("-").partition(".")
    if text.startswith("-") and not Decimal(text):
        return False
    if not fraction:
        return len(whole) <= whole_digits
    idle = fraction.endswith("0") and not (fraction == "0" and whole_points)
    return not idle and len(fraction) <= 6 and len(whole) + len(fraction) <= 15


def scaled(digits: int, places: int) -> Decimal:
    return Decimal(digits).scaleb(-places)


def bounded(
    low: Decimal | None, high: Decimal | None, low_excluded: bool, high_excluded: bool
) -> NumberSet:
    return NumberSet.between(low, high, low_excluded=low_excluded, high_excluded=high_excluded)


def moved(number: Decimal, step: Decimal) -> Decimal:
    return number + step


# Numbers that meet often, with few digits, near each other; and some that are far out.
SMALL = st.builds(scaled, st.integers(-300, 300), st.integers(0, 3))
WIDE = st.builds(scaled, st.integers(-(10**16), 10**16), st.integers(0, 9))
FAR = st.one_of(
    st.integers(-(10**22), 10**22).map(Decimal),
    st.sampled_from(["0", "1", "1e45", "-1e45", "1e-9", "999999999.5", "1e400"]).map(Decimal),
)
NUMBERS = st.one_of(SMALL, SMALL, WIDE, FAR)
BOUNDS = st.none() | NUMBERS
DIVISORS = st.sampled_from(
    ["1", "2", "3", "7", "12", "100000", "0.5", "2.5", "0.01", "0.3", "3e-6"]
)
SIMPLE = st.one_of(
    st.builds(bounded, BOUNDS, BOUNDS, st.booleans(), st.booleans()),
    st.lists(NUMBERS, max_size=4).map(NumberSet.of),
    DIVISORS.map(multiples),
)
SETS = st.recursive(
    SIMPLE,
    lambda sets: st.one_of(
        sets.map(lambda one: ~one),
        st.tuples(sets, sets).map(lambda pair: pair[0] & pair[1]),
        st.tuples(sets, sets).map(lambda pair: pair[0] | pair[1]),
        st.tuples(sets, sets).map(lambda pair: pair[0] - pair[1]),
    ),
    max_leaves=4,
)
QUERIES = st.lists(
    st.one_of(
        SETS.map(Between.exactly),
        st.tuples(SETS, SETS).map(lambda pair: Between(pair[0] & pair[1], pair[0] | pair[1])),
    ),
    max_size=3,
)


def texts_near(cuts: list[Decimal]) -> st.SearchStrategy[str]:
    """Texts of numbers at, beside and away from some."""
    steps = st.sampled_from(["0", "1", "-1", "1e-6", "-1e-6", "0.1", "1e-7"]).map(Decimal)
    near = [cut for cut in cuts if abs(cut) < 10**20]
    values = st.one_of(SMALL, WIDE)
    if near:
        values |= st.builds(moved, st.sampled_from(near), steps)
    plain = values.map(lambda value: format(value, "f"))
    shortest = plain.map(lambda text: text.rstrip("0").rstrip(".") if "." in text else text)
    whole = shortest.filter(lambda text: "." not in text)
    return st.one_of(shortest, shortest, plain, whole.map(lambda text: text + ".0"))


class TestSets:
    @given(SETS, SETS, NUMBERS, st.integers(-400, 400))
    def test_operations_are_those_of_logic(
        self, one: NumberSet, two: NumberSet, number: Decimal, whole: int
    ) -> None:
        cuts = [cut for cut in one.cuts + two.cuts if cut.adjusted() < 30]
        values: list[Number] = [number, whole, *cuts, *(cut + Decimal("0.001") for cut in cuts)]
        for value in values:
            a, b = value in one, value in two
            assert (value in one & two) == (a and b)
            assert (value in one | two) == (a or b)
            assert (value in one - two) == (a and not b)
            assert (value in ~one) == (not a)

    @given(SETS, SETS)
    def test_equal_sets_are_equal(self, one: NumberSet, two: NumberSet) -> None:
        assert ~~one == one == one & one == one | one
        again = one | (one & two)
        assert again == one or again.divisors != one.divisors  # these have the same multiples
        assert (again - one).empty
        assert (one - again).empty
        assert (one & ~one).empty
        assert one | ~one == EVERYTHING
        assert one & two == two & one
        assert hash(one & two) == hash(two & one)
        assert ~(one & two) == ~one | ~two

    def test_a_number_is_what_it_is_worth(self) -> None:
        assert 1.0 in INTEGERS
        assert Decimal("1.000") in INTEGERS
        assert 10**400 in INTEGERS
        assert 0.1 in NumberSet.of([Decimal("0.1")])
        assert 2**53 + 1 not in NumberSet.of([2**53])
        assert float("inf") not in EVERYTHING
        assert -0.0 in NumberSet.of([0])
        assert INTEGERS | multiples(6) == INTEGERS
        assert INTEGERS & multiples(6) == multiples(6)
        assert NumberSet.of([]) == NOTHING == between(3, 2)
        assert between(2, 2) == NumberSet.of([2.0])

    def test_infinite_bounds_bound_nothing(self) -> None:
        infinity = Decimal("Infinity")
        assert NumberSet.between(-infinity, infinity) == EVERYTHING
        assert NumberSet.between(infinity, None) == NOTHING
        assert 10**399 in between(None, "1e400")
        assert 10**401 not in between(None, "1e400")

    def test_refusals(self) -> None:
        for divisor in ("0", "-1", "Infinity", "NaN"):
            with pytest.raises(ValueError, match="divide"):
                multiples(divisor)
        with pytest.raises(ValueError, match="NaN"):
            NumberSet.of([float("nan")])
        with pytest.raises(SchemaTooLarge):
            between("1e999999999", None)
        with pytest.raises(SchemaTooLarge):
            multiples("1e-999999999")
        primes = (multiples(prime) for prime in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31))
        with pytest.raises(SchemaTooLarge):
            functools.reduce(operator.or_, primes)


class TestLeaf:
    @given(st.data(), QUERIES, st.booleans())
    @settings(max_examples=60, deadline=None)
    def test_labels_tell_every_text(
        self, data: st.DataObject, queries: list[Between[NumberSet]], whole_points: bool
    ) -> None:
        leaf = number_leaf(queries, whole_points=whole_points)
        cuts = [cut for one in queries for both in (one.inner, one.outer) for cut in both.cuts]
        longest = max((cut.adjusted() + 1 for cut in cuts), default=0)
        digits = 15 if longest <= 15 else min(41, longest + 1)
        for text in data.draw(st.lists(texts_near(cuts), min_size=10, max_size=10)):
            number = Decimal(text)
            label = leaf.run(text.encode())
            rule = written(text, whole_points=whole_points, whole_digits=digits)
            if label is None:
                assert not rule
            else:
                assert rule or (number in cuts and Decimal(repr(float(text))) == number)
                assert label == tuple(truth(query, number) for query in queries)

    @given(st.text("0123456789.-eE+ ", max_size=8))
    def test_any_number_is_a_text_by_the_rule(self, text: str) -> None:
        plain = bool(TEXT.fullmatch(text)) and written(text, whole_points=True)
        expected = plain or bool(EXPONENT.fullmatch(text))
        assert (number_leaf(()).run(text.encode()) == ()) == expected

    @pytest.mark.parametrize(
        ("text", "integer", "number"),
        [
            ("0", True, True),
            ("-7", True, True),
            ("999999999999999", True, True),
            ("1000000000000000", False, False),
            ("2.0", False, True),
            ("0.0", False, True),
            ("-0", False, False),
            ("-0.0", False, False),
            ("-0.5", False, True),
            ("0.000001", False, True),
            ("0.0000001", False, False),
            ("1700000000.12345", False, True),
            ("1700000000.123456", False, False),
            ("01", False, False),
            ("1.", False, False),
            (".5", False, False),
            ("1e3", False, False),
        ],
    )
    def test_an_integer_has_no_point(self, text: str, integer: bool, number: bool) -> None:
        yes = (Truth.YES,)
        asked = number_leaf([Between.exactly(INTEGERS)])
        assert (asked.run(text.encode()) == yes) == integer
        assert (number_leaf([Between.exactly(EVERYTHING)]).run(text.encode()) == yes) == number
        anyway = number_leaf([Between.exactly(INTEGERS)], whole_points=True)
        assert anyway.run(b"2.0") == yes

    def test_whole_numbers_go_as_far_as_the_sets_do(self) -> None:
        longs = number_leaf([Between.exactly(INTEGERS & between(-(2**63), 2**63 - 1))])
        assert longs.run(str(2**63 - 1).encode()) == (Truth.YES,)
        assert longs.run(str(2**63).encode()) == (Truth.NO,)
        assert longs.run(str(-(2**63)).encode()) == (Truth.YES,)
        digits = str(7 * 10**34 + 1)  # more than a decimal context holds
        exactly = number_leaf([Between.exactly(NumberSet.of([-int(digits)]))])
        assert exactly.run(b"-" + digits.encode()) == (Truth.YES,)
        far = number_leaf([Between.exactly(between("1e30", None))])
        assert far.run(str(10**31).encode()) == (Truth.YES,)
        farthest = number_leaf([Between.exactly(between(None, "1e400"))])
        assert farthest.run(b"9" * 41) == (Truth.YES,)
        assert farthest.run(b"9" * 42) is None

    def test_a_named_number_is_written_whatever_its_places(self) -> None:
        named = [1e-7, 0.30000000000000004, -1234567890123.25, 1e-300]
        leaf = number_leaf([Between.exactly(NumberSet.of(named))])
        assert leaf.run(b"0.0000001") == (Truth.YES,)
        assert leaf.run(b"0.30000000000000004") == (Truth.YES,)
        assert leaf.run(b"-1234567890123.25") == (Truth.YES,)
        assert leaf.run(b"0.0000002") is None
        # Not the text that its double is known by: another text is the same double.
        twin = NumberSet.of([Decimal("0.1000000000000000055511151231257827")])
        leaf = number_leaf([Between.exactly(twin)])
        assert leaf.run(b"0.1000000000000000055511151231257827") is None

    def test_large_divisors(self) -> None:
        for divisor in (10**20, 7 * 10**18, 1000, 999):
            leaf = number_leaf([Between.exactly(multiples(divisor) & between(None, 10**25))])
            assert leaf.run(str(-6 * divisor).encode()) == (Truth.YES,)
            assert leaf.run(str(6 * divisor + 10).encode()) == (Truth.NO,)
        leaf = number_leaf([Between.exactly(multiples(123457) & INTEGERS)])
        assert leaf.run(str(10 * 123457).encode()) == (Truth.YES,)
        assert leaf.run(str(11 * 123457).encode()) == (Truth.UNKNOWN,)
        assert leaf.run(b"0.5") == (Truth.NO,)
        # What depends on an unfollowed divisor in no case is still known.
        leaf = number_leaf([Between.exactly(multiples(123457) | INTEGERS)])
        assert leaf.run(b"5") == (Truth.YES,)

    def test_equal_states_are_one(self) -> None:
        plain = number_leaf(())
        assert plain.states <= 80
        assert number_leaf([]) is plain
        assert plain.labels == ((),)
        some = [Between.exactly(INTEGERS & between(0, 100))]
        assert number_leaf(some) is number_leaf(list(some))
        rows = np.c_[plain.table, plain.label]
        assert len(np.unique(rows, axis=0)) == len(rows)

    @given(st.data())
    def test_exponents_are_written_where_no_set_tells_such_numbers_apart(
        self, data: st.DataObject
    ) -> None:
        cut = st.sampled_from([None, "-1e20", "-3e-9", 0, "5e-7", 1, "2e17"])
        ranges = st.builds(between, cut, cut)
        others = st.sampled_from([EVERYTHING, INTEGERS, ~INTEGERS, multiples("0.5"), multiples(7)])
        sets = data.draw(st.lists(ranges | others, max_size=3))
        queries = [Between.exactly(one) for one in sets]
        text = data.draw(st.from_regex(EXPONENT, fullmatch=True))
        label = number_leaf(queries).run(text.encode())
        if label is not None:
            assert label == tuple(truth(query, Decimal(text)) for query in queries)
            assert json.dumps(float(text)).rstrip("0123456789") == text.rstrip("0123456789")
        if not any(one.cuts or one.divisors for one in sets):
            assert label is not None

    def test_a_number_with_an_exponent_has_few_forms(self) -> None:
        plain = number_leaf([])
        for text in (b"8.854e-12", b"1e-07", b"1e-7", b"-6.02e+23", b"1e+16"):
            assert plain.run(text) == ()
        for text in (
            b"1e5",
            b"1e-4",
            b"1.0e-9",
            b"12e-9",
            b"0.5e-9",
            b"1e16",
            b"1e+400",
        ):
            assert plain.run(text) is None
        assert number_leaf([Between.exactly(INTEGERS)]).run(b"1e+20") is None

    def test_a_product_too_large_is_refused(self) -> None:
        named = Between.exactly(NumberSet.of([101 * k + 10**10 for k in range(999)]))
        with pytest.raises(SchemaTooLarge):
            number_leaf([named, Between.exactly(multiples(999))])

    def test_many_equal_rows_are_told_apart(self) -> None:
        rows = np.random.default_rng(1).integers(0, 2, (500, 13)).astype(np.int32)
        few, which = distinct(rows)
        assert len(few) == len(np.unique(rows, axis=0))
        np.testing.assert_array_equal(few[which], rows)


def valid(schema: dict[str, Any], text: str) -> bool:
    return bool(Draft202012Validator(schema).is_valid(json.loads(text)))


FLOATS = st.one_of(
    st.integers(1, 5000).map(lambda n: n / 100),
    st.integers(1, 10**9).map(lambda n: n / 10**6),
    st.floats(1e-9, 1e12),
    st.sampled_from([0.1, 0.01, 0.05, 0.001, 0.0001, 1e-8, 0.5, 0.25, 1.0, 2.0, 2.5, 1e22, 1e23]),
)


class TestJsonschema:
    """A label is what the validator says, where it is sure."""

    @given(FLOATS | st.integers(1, 1500), st.data())
    @settings(max_examples=50, deadline=None)
    def test_multiples(self, divisor: float, data: st.DataObject) -> None:
        query = multiples_between(divisor)
        leaf = number_leaf([query, Between.exactly(between(None, 10**20))], whole_points=True)
        exact = Decimal(repr(divisor))
        times = st.one_of(st.integers(-200, 200), st.integers(-(10**15), 10**15))
        near = times.map(lambda count: exact * count)
        for text in data.draw(st.lists(texts_near(data.draw(st.lists(near, max_size=9))))):
            label = leaf.run(text.encode())
            if label is not None and label[0] != Truth.UNKNOWN:
                assert valid({"multipleOf": divisor}, text) == (label[0] == Truth.YES)
                assert (Decimal(text) in NumberSet.multiples(exact)) == (label[0] == Truth.YES)

    @pytest.mark.parametrize(
        ("divisor", "inside", "unsure", "outside"),
        [
            (0.01, ["0.25", "4.75", "1000000.5", "19.98", "7"], ["4.35", "0.29"], ["0.005"]),
            (0.1, ["0.2", "0.5", "123456789"], ["0.3"], ["0.25", "0.00001"]),
            (0.5, ["0.5", "-3", "123456789.5"], [], ["0.1", "0.25"]),
            (1.0, ["0", "2", "2.0", "-999999999"], [], ["0.5"]),
            (0.0001, ["0.0075"], [], ["0.00751"]),
            (1e-8, ["12391239123", "0.5"], [], []),
            (2, ["4", "4.0"], [], ["3", "0.5"]),
        ],
    )
    def test_examples(
        self, divisor: float, inside: list[str], unsure: list[str], outside: list[str]
    ) -> None:
        leaf = number_leaf([multiples_between(divisor)], whole_points=True)
        labels = ((inside, Truth.YES), (unsure, Truth.UNKNOWN), (outside, Truth.NO))
        for texts, expected in labels:
            for text in texts:
                assert leaf.run(text.encode()) == (expected,), text

    def test_the_type_of_a_divisor_matters(self) -> None:
        assert multiples_between(2) != multiples_between(2.0)
        assert multiples_between(2) == Between.exactly(multiples(2))

    @given(st.data(), st.floats(allow_nan=False, allow_infinity=False) | WIDE.map(float))
    @settings(max_examples=100, deadline=None)
    def test_bounds_and_constants(self, data: st.DataObject, drawn: float) -> None:
        bound = drawn if abs(drawn) < 2**53 else int(drawn)
        exact = decimal(bound)
        schemas: dict[str, NumberSet] = {
            "minimum": NumberSet.between(exact, None),
            "exclusiveMaximum": NumberSet.between(None, exact, high_excluded=True),
            "const": NumberSet.of([bound]),
        }
        queries = [Between.exactly(one) for one in schemas.values()]
        leaf = number_leaf([*queries, Between.exactly(INTEGERS)], whole_points=True)
        named = format(exact, "f")
        for text in [named, *data.draw(st.lists(texts_near([exact])))]:
            label = leaf.run(text.encode())
            if label is not None:
                for keyword, known in zip(schemas, label, strict=False):
                    assert valid({keyword: bound}, text) == (known == Truth.YES), keyword
                assert valid({"type": "integer"}, text) == (label[-1] == Truth.YES)
