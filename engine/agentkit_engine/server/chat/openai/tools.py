"""What tools, a tool choice and a format of answers ask for: of chat completions and responses.

Knows the JSON of both, which differ in how deep a function's name lies. Must not know messages,
nor how a turn is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, cast, get_args

from pydantic import BaseModel, ConfigDict, Field

from agentkit_engine.server.chat.asked import AskedTool
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.transport.problems import Refused
from agentkit_engine.template import Schema

Mode: TypeAlias = Literal["none", "auto", "required"]

ANY_OBJECT: Mapping[str, Any] = {"type": "object", "additionalProperties": {}}  # of any keys
_NOTHING: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_NO_BRANCH = frozenset({"type", "$ref", "anyOf", "oneOf", "allOf"})


class Body(BaseModel):
    """A part of a request; what it says beside the names known here is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Function(Body):
    """A function on offer. `strict` changes nothing: arguments always satisfy the schema."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What may be called in one turn; the fields are those of `Asked`.

    most: calls, as `DecidingOptions.max_calls` has it.
    """

    tools: tuple[AskedTool, ...]
    callable: tuple[str, ...]
    must_call: bool
    most: int


def offer_of(
    functions: Sequence[tuple[str, Function]],
    choice: object,
    *,
    parallel: bool | None,
    limits: Limits,
) -> Offer:
    """What tools and a tool choice offer.

    Args:
        functions: each with its place in the body, such as `tools.0.function`.
        choice: `tool_choice` as it was sent.
        parallel: `parallel_tool_calls`; several calls in one turn are made only if it says so.

    Raises:
        Refused: there are too many, two share a name, parameters are no object's, or the choice is
            of no tool on offer.
    """
    if len(functions) > limits.tools:
        why = f"{len(functions)} tools are offered and {limits.tools} are taken at most"
        raise Refused(400, "TooManyTools", why, "tools")
    tools: dict[str, AskedTool] = {}
    for place, function in functions:
        if function.name in tools:
            why = f"two tools are named {function.name!r}; rename one"
            raise Refused(400, "InvalidRequest", why, f"{place}.name")
        tools[function.name] = _tool(place, function)
    mode, names = _chosen(choice, tuple(tools))
    if mode == "required" and not names:
        why = "tool_choice wants a call and no tool is on offer; add one to 'tools'"
        raise Refused(400, "InvalidRequest", why, "tool_choice")
    return Offer(
        tools=tuple(tools.values()),
        callable=() if mode == "none" else names,
        must_call=mode == "required",
        most=limits.calls if parallel else 1,
    )


def output_of(format: object, place: str) -> Schema | None:
    """The schema that an answer satisfies; None for words.

    Args:
        format: `{"type": "text" | "json_object"}`, or `{"type": "json_schema"}` with the schema
            beside it or below `json_schema`.
        place: of it in the body.

    Raises:
        Refused: it is of no such form.
    """
    if format is None:
        return None
    about = _mapping(format, place)
    match about.get("type"):
        case "text":
            return None
        case "json_object":
            return ANY_OBJECT
        case "json_schema":
            inner = "json_schema" in about
            held = _mapping(about["json_schema"], f"{place}.json_schema") if inner else about
            if held.get("schema") is None:
                return ANY_OBJECT
            return _mapping(held["schema"], schema_place(format, place))
        case kind:
            why = f"{kind!r} is no format; take 'text', 'json_object' or 'json_schema'"
            raise Refused(400, "InvalidRequest", why, f"{place}.type")


def schema_place(format: object, place: str) -> str:
    """Where in the body the schema of a format stands."""
    inner = isinstance(format, Mapping) and "json_schema" in format
    return f"{place}.json_schema.schema" if inner else f"{place}.schema"


def _tool(place: str, function: Function) -> AskedTool:
    schema = _NOTHING if function.parameters is None else function.parameters
    if schema.get("type", "object") != "object":
        why = (
            f"the parameters of {function.name!r} are of the type {schema['type']!r}, not 'object'"
        )
        raise Refused(400, "InvalidRequest", why, f"{place}.parameters")
    if _NO_BRANCH.isdisjoint(schema):
        schema = {"type": "object", **schema}  # as everybody means it who leaves it out
    return AskedTool(
        name=function.name,
        description=function.description or "",
        parameters=schema,
        place=f"{place}.parameters",
    )


def _chosen(choice: object, offered: tuple[str, ...]) -> tuple[Mode, tuple[str, ...]]:
    """What is to be done, and with which tools."""
    if choice is None:
        return "auto", offered
    if isinstance(choice, str):
        return _mode(choice, "tool_choice"), offered
    about = _mapping(choice, "tool_choice")
    match about.get("type"):
        case "function":
            return "required", (_name(about, "tool_choice", offered),)
        case "allowed_tools":
            inner = "allowed_tools" in about
            place = "tool_choice.allowed_tools" if inner else "tool_choice"
            held = _mapping(about["allowed_tools"], place) if inner else about
            entries = held.get("tools")
            if not isinstance(entries, list):
                raise Refused(400, "InvalidRequest", "this is no list", f"{place}.tools")
            names = [
                _name(_mapping(one, f"{place}.tools.{n}"), f"{place}.tools.{n}", offered)
                for n, one in enumerate(cast("list[object]", entries))
            ]
            return _mode(held.get("mode", "auto"), f"{place}.mode"), tuple(dict.fromkeys(names))
        case kind:
            why = f"{kind!r} is no choice of tools; take 'function' or 'allowed_tools'"
            raise Refused(400, "InvalidRequest", why, "tool_choice.type")


def _mode(said: object, place: str) -> Mode:
    modes: tuple[Mode, ...] = get_args(Mode)
    for mode in modes:
        if said == mode:
            return mode
    why = f"{said!r} is no choice of tools; take 'none', 'auto', 'required' or a named function"
    raise Refused(400, "InvalidRequest", why, place)


def _name(about: Mapping[str, Any], place: str, offered: tuple[str, ...]) -> str:
    """The name of a function that is on offer, wherever it stands."""
    if "function" in about:
        about, place = _mapping(about["function"], f"{place}.function"), f"{place}.function"
    name = about.get("name")
    if name not in offered:
        why = f"no tool is named {name!r}; on offer are {', '.join(map(repr, offered)) or 'none'}"
        raise Refused(400, "InvalidRequest", why, f"{place}.name")
    return str(name)


def _mapping(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Refused(400, "InvalidRequest", f"{place} is no object", place)
    return cast("Mapping[str, Any]", value)
