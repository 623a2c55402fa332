"""A calculator: one tool, exact where arithmetic can be exact.

Knows how people write sums ("15% of 80", "12 times 7", "1,250 x 3"), and evaluates them over
fractions, so that 0.1 + 0.2 is 0.3. It never evaluates code: simpleeval walks the parsed
expression, and is left only those kinds of node that arithmetic has. Every number is bounded, so
no expression can hold the processor or the memory.
"""

import ast
import math
import re
from collections.abc import Callable, Mapping
from decimal import Context
from fractions import Fraction
from typing import Any

import simpleeval as untyped  # type: ignore[import-untyped]

from agentkit import Plugin, Toolset, tool

simpleeval: Any = untyped

Number = Fraction | float
"""Exact while it is cheap to be (`Fraction`), rounded from then on (`float`)."""

MAX_LENGTH = 200
"""Characters in an expression."""
MAX_EXACT_BITS = 2048
"""Numerators and denominators longer than this are rounded to floats."""
MAX_WRITTEN_DIGITS = 60
"""Whole numbers longer than this are written in scientific notation."""
SIGNIFICANT_DIGITS = 12
"""Digits written of a number that has no short exact form."""

_NUMBER = r"\d+(?:\.\d+)?"
_SYMBOLS = str.maketrans(
    {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "$": None, "€": None, "£": None}
)
# Applied in this order to the lower-case expression; phrases before the words they contain.
_WORDING: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\bsquare root of\s*\(", "sqrt("),
        (rf"\bsquare root of\s*({_NUMBER})", r"sqrt(\1)"),
        (r"\bpercent\b", "%"),
        (rf"({_NUMBER})\s*%\s*of\b", r"(\1/100)*"),
        (r"\bto the power of\b", "**"),
        (r"\bmultiplied by\b|\btimes\b", "*"),
        (r"\bdivided by\b|\bover\b", "/"),
        (r"(?<=[\d)\s])x(?=[\s\d(])", "*"),
        (r"\bplus\b", "+"),
        (r"\bminus\b", "-"),
        (r"\s*\bsquared\b", "**2"),
        (r"\s*\bcubed\b", "**3"),
        (r"(?<![\w.])0+(?=\d)", ""),
    )
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_SEVERAL_ARGUMENTS = re.compile(r"\b(?:round|min|max)\b")
_LONE_PERCENT = re.compile(r"%\s*(?:[-+*/)]|$)")


def _normalise(expression: str) -> str:
    """Rewrite the way people write a sum as the operators that the parser knows."""
    text = expression.lower().translate(_SYMBOLS).strip().rstrip("=?.! ")
    if not _SEVERAL_ARGUMENTS.search(text):  # there a comma is a separator: max(1,200)
        text = _THOUSANDS.sub("", text)
    for pattern, replacement in _WORDING:
        text = pattern.sub(replacement, text)
    # "100 - 20%" means 80 to some and 99.8 to others, so neither is guessed.
    if _LONE_PERCENT.search(text):
        raise ValueError("write a percentage as '20% of 80'")
    return text.strip()


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if bits * abs(exponent.numerator) <= MAX_EXACT_BITS:
            return base**exponent.numerator
    result: float | complex = float(base) ** float(exponent)
    if isinstance(result, complex):
        raise ValueError("a negative number has no such root")
    return result


def _sqrt(value: Number) -> Number:
    if value < 0:
        raise ValueError("a negative number has no square root")
    if isinstance(value, Fraction):
        root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
        if root * root == value:
            return root
    return math.sqrt(value)


def _round(value: Number, digits: Number = Fraction(0)) -> Number:
    """Round half away from zero, as taught at school (Python rounds 2.5 to 2)."""
    if not isinstance(digits, Fraction) or digits.denominator != 1 or abs(digits) > 30:
        raise ValueError("round takes a whole number of digits up to 30")
    scale = Fraction(10) ** digits.numerator
    magnitude = math.floor(abs(Fraction(value)) * scale + Fraction(1, 2)) / scale
    return magnitude if value >= 0 else -magnitude


_BINARY: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: _power,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Number], Number]] = {
    ast.USub: lambda a: -a,
    ast.UAdd: lambda a: a,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "sqrt": _sqrt,
    "abs": abs,
    "round": _round,
    "min": min,
    "max": max,
}
_CONSTANTS: Mapping[str, Number] = {"pi": math.pi, "e": math.e}
# All else that simpleeval knows is taken from it: texts, comparisons, attributes, items, ...
_NODES = (ast.BinOp, ast.UnaryOp, ast.Call, ast.Name)


def _bounded(value: Number) -> Number:
    """Keep exact numbers short; raises OverflowError for what no float can hold."""
    if isinstance(value, int):  # what // of two fractions gives
        value = Fraction(value)
    if isinstance(value, Fraction):
        bits = max(value.numerator.bit_length(), value.denominator.bit_length())
        if bits > MAX_EXACT_BITS or abs(value) > Fraction(10) ** 300:
            return float(value)
        return value
    if not math.isfinite(value):
        raise OverflowError
    return value


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Number]:
    """A function of the calculator's, whose result is bounded."""

    def call(*numbers: Number) -> Number:
        try:
            return _bounded(function(*numbers))
        except TypeError:
            raise ValueError(f"{name} cannot take {len(numbers)} numbers") from None

    return call


def _number(node: ast.Constant) -> Number:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise simpleeval.FeatureNotAvailable
    # The shortest decimal that gives this float is what was typed: 0.1 is a tenth.
    return _bounded(Fraction(repr(value)) if math.isfinite(value) else value)


def _evaluate(text: str) -> Number:
    """The value of an expression that the parser knows."""
    operators: dict[type[ast.AST], Callable[..., Number]] = {
        **{kind: _guarded(kind.__name__, work) for kind, work in _BINARY.items()},
        **{kind: _guarded(kind.__name__, work) for kind, work in _UNARY.items()},
    }
    functions = {name: _guarded(name, work) for name, work in _FUNCTIONS.items()}
    walker = simpleeval.SimpleEval(operators, functions, dict(_CONSTANTS))
    walker.nodes = {kind: walker.nodes[kind] for kind in _NODES} | {ast.Constant: _number}
    try:
        value = walker.eval(text, ast.parse(text, mode="eval").body)
    except simpleeval.NameNotDefined as error:
        raise ValueError(f"{error.name!r} is not a number or a known function") from None
    except simpleeval.FunctionNotDefined as error:
        raise ValueError(f"{error.func_name!r} is not a number or a known function") from None
    except simpleeval.InvalidExpression:
        raise ValueError(f"{text!r} is not arithmetic") from None
    if not isinstance(value, Fraction | float):  # the name of a function, on its own
        raise ValueError(f"{text!r} is not arithmetic")
    return value


def _write(value: Number) -> str:
    """A number without float noise: exact when short, otherwise 12 significant digits."""
    if isinstance(value, Fraction):
        if value.denominator == 1 and abs(value) < 10**MAX_WRITTEN_DIGITS:
            return str(value.numerator)
        scaled = value * 10**SIGNIFICANT_DIGITS
        if scaled.denominator == 1 and abs(scaled) < 10**MAX_WRITTEN_DIGITS:
            decimal = Context(prec=MAX_WRITTEN_DIGITS).create_decimal(scaled.numerator)
            return format(decimal.scaleb(-SIGNIFICANT_DIGITS), "f").rstrip("0").rstrip(".")
    text = format(float(value), f".{SIGNIFICANT_DIGITS}g")
    return "0" if text == "-0" else text


def calculate(expression: str) -> str:
    """Evaluate arithmetic and write the result.

    Raises:
        ValueError: the expression can't be read, or has no (finite, real) value; the message
            says which and is meant to be read by a model.
    """
    if len(expression) > MAX_LENGTH:
        raise ValueError(f"the expression is longer than {MAX_LENGTH} characters")
    text = _normalise(expression)
    if not text:
        raise ValueError("the expression is empty")
    try:
        return _write(_evaluate(text))
    except (SyntaxError, RecursionError, MemoryError):  # the last two: nested past the parser
        raise ValueError(f"cannot read the expression {expression!r}") from None
    except ZeroDivisionError:
        raise ValueError("cannot divide by zero") from None
    except OverflowError:
        raise ValueError("the result is too large") from None


@tool
def calculator(expression: str) -> str:
    """Work out an arithmetic expression.

    Args:
        expression: The arithmetic.
    """
    return calculate(expression)


toolset = Toolset("calculator", [calculator])
plugin = Plugin("calculator", description="Works out arithmetic.", open=lambda: toolset)
