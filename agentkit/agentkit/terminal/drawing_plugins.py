"""Draws tool plugins: their tools, what these may touch, and how they are configured.

Knows what was found of a plugin, and rich. Must not know how it was found, or the command line.
Importing it imports rich.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agentkit.defining.configuration import Configuration
from agentkit.defining.tool import AnyTool
from agentkit.terminal.drawing import INDENT, signature
from agentkit.terminal.looking import Checked, Look, Outcome

_STYLES: Mapping[Outcome, str] = {
    "passed": "green",
    "untested": "dim",
    "not set up": "yellow",
    "failed": "red",
}
_LIMITS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf")
_LENGTHS = ("minLength", "maxLength", "minItems", "maxItems", "pattern")


def draw_plugins(looks: Sequence[Look]) -> RenderableType:
    """Plugins with their tools, and what is wrong with those that are not ready."""
    if not looks:
        return Text("no tool plugin is installed")
    table = _grid("bold cyan", "", "dim")
    for look in looks:
        if look.toolset is None:
            style = "red" if look.state == "broken" else "yellow"
            table.add_row(look.name, Text(look.state, style=style), Text(look.problem))
            continue
        for number, tool in enumerate(look.toolset):
            name = look.name if number == 0 else ""
            table.add_row(name, Text(signature(tool)), Text(tool.description))
    explicit = [look.name for look in looks if look.plugin is not None and look.plugin.explicit]
    if not explicit:
        return table
    return Group(table, Text(f"only where --tools names them: {', '.join(explicit)}", style="dim"))


def draw_plugin(look: Look) -> RenderableType:
    """All of one plugin."""
    parts: list[RenderableType] = [
        Text.assemble((look.name, "bold cyan"), (f"  {look.source}", "dim"))
    ]
    if look.state != "ready":
        style = "red" if look.state == "broken" else "yellow"
        parts.append(Text.assemble((look.state, style), f": {look.problem}"))
    if look.plugin is not None:
        if look.plugin.description:
            parts.append(Text(look.plugin.description))
        if look.plugin.explicit:
            parts.append(Text("opened only where it is named", style="dim"))
        may = look.plugin.permissions or ("none are told",)
        parts += [_title("permissions"), *(Padding(Text(one), INDENT) for one in may)]
    if look.configuration is not None and look.configuration.settings:
        parts += [_title("configuration"), Padding(_settings(look.configuration), INDENT)]
    if look.toolset is not None:
        parts.append(_title("tools"))
        parts += [Padding(_tool(tool), INDENT) for tool in look.toolset]
    return Group(*parts)


def draw_check(checked: Checked) -> RenderableType:
    """How a self-test went, in a line, and why not below."""
    line = Text.assemble(
        (f"{checked.outcome:<12}", _STYLES[checked.outcome]),
        (checked.name, "bold cyan"),
        (f"  {checked.seconds:.1f} s", "dim"),
    )
    if checked.outcome == "untested":
        line.append("  it opens, and has no self-test", style="dim")
    return Group(line, Padding(Text(checked.problem), INDENT)) if checked.problem else line


def _title(text: str) -> Text:
    return Text(text, style="bold")


def _settings(configuration: Configuration) -> Table:
    table = _grid("cyan", "", "dim", "dim")
    for one in configuration.settings:
        value = Text(_json(one.value) if one.origin else "", style="red" if one.problem else "")
        origin = f"from {one.origin}" if one.origin else Text("missing", style="yellow")
        table.add_row(one.name, value, origin, Text(one.description or one.type))
    return table


def _tool(tool: AnyTool) -> RenderableType:
    table = _grid("cyan", "", "dim")
    required = tool.parameters.get("required", [])
    properties: Mapping[str, Any] = tool.parameters.get("properties", {})
    for name, schema in properties.items():
        said = _json_object(schema).get("description", "")
        table.add_row(
            name if name in required else f"{name}?", Text(_kind(schema)), Text(str(said))
        )
    head = Text.assemble((tool.name, "bold"), f"  {tool.description}")
    return Group(head, Padding(Group(table, Text(_terms(tool), style="dim")), INDENT))


def _terms(tool: AnyTool) -> str:
    """How calls of a tool are made."""
    marks = [mark for mark in ("approval", "deferred", "pure", "sequential") if getattr(tool, mark)]
    if tool.approval_when is not None:
        marks.append(f"approval when {tool.approval_when.text}")
    limit = "no time limit" if tool.timeout is None else f"up to {tool.timeout:g} s"
    return ", ".join([limit, *marks])


def _kind(schema: Any) -> str:
    """What a JSON Schema allows, in a few words."""
    one = _json_object(schema)
    if "enum" in one:
        return " | ".join(map(_json, one["enum"]))
    if "const" in one:
        return _json(one["const"])
    if options := one.get("anyOf") or one.get("oneOf"):
        return " | ".join(dict.fromkeys(map(_kind, options)))
    if "$ref" in one:
        return str(one["$ref"]).rpartition("/")[2]
    kinds = one.get("type", "anything")
    said = kinds if isinstance(kinds, str) else " | ".join(kinds)
    if said == "array" and "items" in one:
        said = f"array of {_kind(one['items'])}"
    limits = [f"{name} {one[name]}" for name in (*_LIMITS, *_LENGTHS) if name in one]
    limits += [f"default {_json(one['default'])}"] if one.get("default") is not None else []
    return ", ".join([f"{said} ({one['format']})" if "format" in one else said, *limits])


def _json_object(schema: Any) -> Mapping[str, Any]:
    """A schema as an object; `true` allows as much as an empty one."""
    return cast("Mapping[str, Any]", schema) if isinstance(schema, dict) else {}


def _grid(*styles: str) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for number, style in enumerate(styles):
        table.add_column(style=style, no_wrap=number == 0, overflow="fold")
    return table


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)
