"""The calculator: exact where it can be, bounded always, and never code."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit_tools.calculator import MAX_LENGTH, calculate, calculator, toolset


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        ("12 * (3 + 4)", "84"),
        ("0.1 + 0.2", "0.3"),
        ("1000.1 - 1000", "0.1"),
        ("10 / 2", "5"),
        ("1 / 3", "0.333333333333"),
        ("2 / 3 * 3", "2"),
        ("-7", "-7"),
        ("7 // 2", "3"),
        ("-7 % 3", "2"),
        ("2 ** 10", "1024"),
        ("2 ^ -2", "0.25"),
        ("2 ** 0.5", "1.41421356237"),
        ("1.05 ** 30", "4.32194237515"),
        ("99999999999999999999 + 1", "100000000000000000000"),
        ("2 ** 1000", "1.07150860719e+301"),
        ("1e3", "1000"),
        ("pi", "3.14159265359"),
        ("sqrt(2) ** 2", "2"),
        ("sqrt(1/4)", "0.5"),
        ("round(2.5)", "3"),
        ("round(-2.345, 2)", "-2.35"),
        ("max(1,200)", "200"),
        ("abs(-3) + min(4, 5, 6)", "7"),
    ],
)
def test_arithmetic_is_exact_and_written_without_noise(expression: str, written: str) -> None:
    assert calculate(expression) == written


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        ("15% of 80", "12"),
        ("12.5 percent of 200 + 1", "26"),
        ("12 times 7", "84"),
        ("12 x 7 =", "84"),
        ("3x4", "12"),
        ("8 multiplied by 3 minus 4", "20"),
        ("144 divided by 12?", "12"),
        ("3 over 4", "0.75"),
        ("2 to the power of 8", "256"),
        ("9 squared plus 2 cubed", "89"),
        ("Square root of 81", "9"),
        ("square root of (9 + 16)", "5"),
        ("1,250 × 3 − 50 ÷ 2", "3725"),
        ("$12.50 * 4", "50"),
        ("007 + 1", "8"),
        ("10.05 + 0", "10.05"),
    ],
)
def test_the_wording_of_a_request_is_understood(expression: str, written: str) -> None:
    assert calculate(expression) == written


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("", "empty"),
        (" = ", "empty"),
        ("2 +", "cannot read the expression '2 \\+'"),
        ("1 / 0", "divide by zero"),
        ("0 ** -1", "divide by zero"),
        ("7 % 0", "divide by zero"),
        ("100 - 20%", "'20% of 80'"),
        ("apples + 1", "'apples' is not a number or a known function"),
        ("sqrt(-1)", "negative number"),
        ("(-8) ** (1/3)", "negative number"),
        ("sqrt(1, 2)", "sqrt cannot take 2 numbers"),
        ("round(1, 0.5)", "whole number of digits"),
        ("'a' * 3", "not arithmetic"),
        ("1 < 2", "not arithmetic"),
        ("1 if 2 else 3", "not arithmetic"),
        ("1 and 2", "not arithmetic"),
        ("7 & 2", "not arithmetic"),
        ("1 << 2", "not arithmetic"),
        ("not 2", "not arithmetic"),
        ("sqrt", "not arithmetic"),
        ("sqrt + 1", "cannot take"),
        ("max(sqrt, 1)", "cannot take"),
        ("nine(9)", "'nine' is not a number or a known function"),
        ("round(1, ndigits=1)", "not arithmetic"),
        ("True", "not a number"),
        ("1j", "not arithmetic"),
        ("1; 2", "cannot read"),
        ("9" * (MAX_LENGTH + 1), "longer than"),
    ],
)
def test_what_has_no_value_is_refused_with_the_reason(expression: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        calculate(expression)


@pytest.mark.parametrize(
    "expression",
    ["9 ** 9 ** 9", "1e400", "10.0 ** 308 * 10", "(10 ** 300) ** 2", "2 ** 9999999999"],
)
def test_numbers_that_outgrow_a_float_are_refused_at_once(expression: str) -> None:
    with pytest.raises(ValueError, match="too large"):
        calculate(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').getcwd()",
        "().__class__",
        "(lambda: 1)()",
        "[1 for _ in range(9)]",
        "calculate.__globals__",
        "abs(**{})",
        "abs(*[1])",
        "abs.real",
        "(1).real",
        "[1][0]",
        "{1: 2}",
        "x = 1",
        "import os",
        "rand()",
        "int('7')",
        "f'{1}'",
        "(x := 1)",
        "(" * 90 + "1" + ")" * 90 + "()",
    ],
)
def test_code_is_never_run(expression: str) -> None:
    with pytest.raises(ValueError, match=r"not |cannot read"):
        calculate(expression)


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    assert calculate("(" * 90 + "1" + ")" * 90) == "1"
    assert calculate("-" * (MAX_LENGTH - 2) + "1") == "1"


@given(st.text(alphabet="0123456789.+-*/%^() ,xeof", max_size=40))
def test_any_text_gives_a_number_or_a_value_error(expression: str) -> None:
    try:
        written = calculate(expression)
    except ValueError:
        return
    assert math.isfinite(float(written))


@given(st.integers(), st.integers())
def test_whole_numbers_stay_exact(left: int, right: int) -> None:
    assert calculate(f"{left} + {right}") == str(left + right)


@given(
    st.decimals(-(10**6), 10**6, places=3, allow_nan=False),
    st.decimals(-(10**6), 10**6, places=3, allow_nan=False),
)
def test_decimals_are_exact(left: object, right: object) -> None:
    written = calculate(f"({left}) * ({right})")
    assert Fraction(written) == Fraction(str(left)) * Fraction(str(right))


def test_the_tool_is_what_the_plugin_offers() -> None:
    assert [tool.name for tool in toolset.tools] == ["calculator"]
    assert calculator(expression="6 * 7") == "42"
    assert calculator.parameters["required"] == ["expression"]
