"""The command `agentkit schema`: what becomes of a JSON Schema, and values that it allows.

Knows files and the engine's grammar, which it imports when it is asked for something: that needs
numpy, and never torch. Must not know models.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from agentkit.errors import (
    EngineError,
    SchemaTooLarge,
    TemplateError,
    UnsatisfiableSchema,
    UnsupportedSchema,
)
from agentkit.terminal.options import positive

if TYPE_CHECKING:
    from agentkit_engine.grammar.inspection import Inspection, Remark
    from agentkit_engine.syntax import Syntax

__all__ = ["add_options", "check", "run", "sample"]

STDIN = "-"
_TOO_DEEP = "the schema is nested too deeply; nest less"
_SHOWN = 3  # pointers of one remark


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `agentkit schema` takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="say whether schemas are supported, and how far")
    check.add_argument("files", metavar="FILE", nargs="+", help="a schema's file; - for the input")
    check.add_argument("--json", action="store_true", help="print one JSON object for each file")
    sample = actions.add_parser("sample", help="print random valid values, one JSON a line")
    sample.add_argument("file", metavar="FILE", help="the schema's file; - for the input")
    sample.add_argument(
        "-n", metavar="N", dest="count", type=positive, default=5, help="how many (default: 5)"
    )
    sample.add_argument("--seed", metavar="N", type=int, help="the same seed, the same values")
    for action in (check, sample):
        action.add_argument(
            "--syntax",
            choices=("json", "spaced", "gemma"),
            default="json",
            help="how values are written on the canvas (default: json)",
        )


def run(arguments: argparse.Namespace) -> int:
    """Check schemas, or sample one."""
    if arguments.action == "check":
        return check(arguments.files, syntax=arguments.syntax, as_json=arguments.json)
    return sample(
        arguments.file, count=arguments.count, seed=arguments.seed, syntax=arguments.syntax
    )


def check(files: Sequence[str], *, syntax: str = "json", as_json: bool = False) -> int:
    """Print whether each schema is supported; return 1 if any is not, or can't be read."""
    statuses = [_check(file, syntax, as_json) for file in files]
    return max(statuses)


def _check(file: str, syntax: str, as_json: bool) -> int:
    told: dict[str, Any] = {"file": file, "supported": False}
    title = "can't be read"
    try:
        schema = _read(file)
        title = "not supported"
        found = _inspect(schema, syntax)
    except TemplateError as error:
        told |= _refusal(error)
        lines = [f"{file}: {title}", *_reason(error)]
    else:
        told |= _figures(found)
        lines = [f"{file}: supported, {found.states} states", *_remarks(found)]
    print(json.dumps(told, ensure_ascii=False) if as_json else "\n".join(lines))
    return 0 if told["supported"] else 1


def sample(file: str, *, count: int, seed: int | None = None, syntax: str = "json") -> int:
    """Print random values that a schema allows, one JSON text a line."""
    schema = _read(file)
    try:
        from agentkit_engine.grammar.sampling import sample_values
    except ImportError as error:
        _explain(error)
    try:
        values = sample_values(schema, count, seed=seed, syntax=_syntax(syntax))
    except RecursionError as error:
        raise TemplateError(_TOO_DEEP) from error
    for value in values:
        print(json.dumps(value, ensure_ascii=False))
    return 0


def _inspect(schema: Any, syntax: str) -> Inspection:
    try:
        from agentkit_engine.grammar.inspection import inspect_schema
    except ImportError as error:
        _explain(error)
    try:
        return inspect_schema(schema, syntax=_syntax(syntax))
    except RecursionError as error:
        raise TemplateError(_TOO_DEEP) from error


def _explain(error: ImportError) -> NoReturn:
    raise EngineError(
        f"schemas need what is not installed: {error}; "
        "install it with `pip install 'agentkit-diffusion[engine]'`"
    ) from error


def _syntax(name: str) -> Syntax:
    from agentkit_engine.syntax import syntax_of

    return syntax_of(name)


def _read(file: str) -> Any:
    """The JSON in a file, or in the standard input."""
    name = "the input" if file == STDIN else repr(file)
    try:
        content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise TemplateError(
            f"{name} can't be read: {reason}; name a file that holds a JSON Schema"
        ) from error
    try:
        return json.loads(content.decode("utf-8-sig"), parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise TemplateError(f"{name} is not JSON: {error.msg} at {where}; mend it there") from error
    except (ValueError, RecursionError) as error:
        raise TemplateError(
            f"{name} is not JSON: {error}; mend it, and save it as UTF-8"
        ) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _figures(found: Inspection) -> dict[str, Any]:
    def listed(remarks: Sequence[Remark]) -> list[dict[str, Any]]:
        return [
            {"keyword": one.keyword, "pointers": list(one.pointers), "note": one.note}
            for one in remarks
        ]

    return {
        "supported": True,
        "states": found.states,
        "in_part": listed(found.parts),
        "ignored": listed(found.ignored),
    }


def _refusal(error: TemplateError) -> dict[str, Any]:
    told: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
    match error:
        case UnsupportedSchema():
            told |= {"keyword": error.keyword, "pointer": error.pointer, "why": error.why}
        case UnsatisfiableSchema():
            told |= {"pointer": error.pointer, "why": error.why}
        case SchemaTooLarge():
            told |= {"needed": error.needed, "budget": error.budget, "parts": error.parts}
        case _:
            pass
    return told


def _reason(error: TemplateError) -> list[str]:
    if not isinstance(error, UnsupportedSchema):
        return [f"  {error}"]
    return [
        f"  keyword  {error.keyword}",
        f"  pointer  {error.pointer!r}",
        f"  why      {error.why}",
    ]


def _remarks(found: Inspection) -> list[str]:
    return [
        f"  {title}  {one.keyword} at {_pointers(one)}: {one.note}"
        for title, remarks in (("in part", found.parts), ("ignored", found.ignored))
        for one in remarks
    ]


def _pointers(remark: Remark) -> str:
    shown = ", ".join(map(repr, remark.pointers[:_SHOWN]))
    more = len(remark.pointers) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
