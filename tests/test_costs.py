"""Costs: a line through the latest forwards, and what it says about one wide or two narrow ones."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agentkit_engine.scheduling.costs import Costs

WIDTHS = st.lists(st.integers(1, 2000), min_size=8, max_size=40)


def seen(base: float, slope: float, widths: list[int]) -> Costs:
    """What has seen forwards that take `base + slope * positions` seconds, and a first slow one."""
    costs = Costs()
    costs.observe(widths[0], 1e6)
    for positions in widths:
        costs.observe(positions, base + slope * positions)
    return costs


def spread_out(widths: list[int]) -> bool:
    return max(widths) >= 3 * min(widths) and len(set(widths)) >= 4


@given(base=st.floats(0, 5), slope=st.floats(0, 0.1), widths=WIDTHS, asked=st.integers(1, 4000))
def test_a_line_is_found_again(base: float, slope: float, widths: list[int], asked: int) -> None:
    assume(spread_out(widths))
    seconds = seen(base, slope, [*widths, 1, 2000, 1, 2000]).seconds(asked)
    assert seconds == pytest.approx(base + slope * asked, rel=1e-4, abs=1e-6)


@given(
    base=st.floats(0.001, 5),
    slope=st.floats(0, 0.1),
    whole=st.integers(1, 4000),
    parts=st.lists(st.integers(1, 800), min_size=2, max_size=3),
)
def test_apart_is_cheaper_where_arithmetic_says_so(
    base: float, slope: float, whole: int, parts: list[int]
) -> None:
    costs = seen(base, slope, [8, 900, 40, 300, 8, 2000])
    together, apart = base + slope * whole, sum(base + slope * part for part in parts)
    assume(abs(together - apart) > 1e-4 * (together + apart))
    assert costs.cheaper_apart(whole, parts) == (apart < together)


def test_nothing_known_is_one_forward() -> None:
    costs = Costs()
    assert costs.seconds(100) is None
    assert not costs.cheaper_apart(10_000, [1, 1])
    costs.observe(10, 9.0)  # the first warms things up
    for positions in (10, 1000, 10):
        costs.observe(positions, 1.0 * positions)
        assert costs.seconds(100) is None
        assert not costs.cheaper_apart(10_000, [1, 1])


def test_forwards_of_one_width_tell_no_line() -> None:
    costs = seen(1.0, 0.5, [100] * 50)
    assert costs.seconds(100) is None
    assert not costs.cheaper_apart(10_000, [1, 1])
    nearly = seen(1.0, 0.5, [100, 101, 99] * 20)
    assert not nearly.cheaper_apart(10_000, [1, 1])


def test_what_was_long_ago_fades() -> None:
    costs = seen(0.0, 1.0, [10, 500] * 20)
    assert costs.cheaper_apart(1000, [10, 100])
    for positions in (10, 500) * 200:
        costs.observe(positions, 3.0)
    assert not costs.cheaper_apart(1000, [10, 100])
    assert costs.seconds(700) == pytest.approx(3.0, rel=0.05)


def test_costs_never_fall_with_width() -> None:
    costs = seen(500.0, -0.2, [10, 500, 900, 10, 500, 900])
    narrow, wide = costs.seconds(10), costs.seconds(900)
    assert narrow is not None
    assert wide is not None
    assert 0 <= narrow <= wide
