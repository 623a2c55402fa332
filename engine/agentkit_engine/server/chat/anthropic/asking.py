"""What is asked for: the chat, its tools and its options, as all chat APIs here have them.

Knows the wire's shapes and what a turn takes. Must not know HTTP, nor how a turn is taken.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from agentkit_engine.filling.settings import DecidingOptions
from agentkit_engine.server.chat.anthropic.wire import (
    Asking,
    Counting,
    Message,
    OutputFormat,
    TextBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
)
from agentkit_engine.server.chat.asked import Asked, AskedTool
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.transport.problems import Refused

_BETWEEN = "\n\n"  # blocks of text, and messages of one role behind each other


def asked_of(form: Counting, *, limits: Limits) -> Asked:
    """The turn that a form asks for.

    Raises:
        Refused: it asks for what can't be done, or contradicts itself; names the field.
    """
    tools = _tools(form.tools or (), most=limits.tools)
    callable, must_call = _offer(form, tools)
    output, place = _output(form)
    return Asked(
        instructions=_text(form.system or ()),
        messages=tuple(_Chat(form.messages).messages),
        tools=tools,
        callable=callable,
        must_call=must_call,
        output=output.json_schema if output else None,
        output_place=f"{place}.schema" if output else "",
        stop=tuple(form.stop_sequences or ()) if isinstance(form, Asking) else (),
        options=_options(form, limits),
    )


def _tools(offered: Sequence[Tool], *, most: int) -> tuple[AskedTool, ...]:
    if len(offered) > most:
        raise _refused("tools", f"there are {len(offered)}, and this server takes {most}")
    found: dict[str, AskedTool] = {}
    for number, tool in enumerate(offered):
        if tool.name in found:
            raise _refused(f"tools.{number}.name", f"two tools are named {tool.name!r}; rename one")
        found[tool.name] = AskedTool(
            name=tool.name,
            description=tool.description or "",
            parameters=tool.input_schema,
            place=f"tools.{number}.input_schema",
        )
    return tuple(found.values())


def _offer(form: Counting, tools: Sequence[AskedTool]) -> tuple[tuple[str, ...], bool]:
    """Which tools may be called, and whether one is called in any case."""
    names, choice = tuple(tool.name for tool in tools), form.tool_choice
    if choice is None or choice.type == "auto":
        return names, False
    if choice.type == "none":
        return (), False
    if not names:
        raise _refused("tool_choice", "it wants a call and no tool is on offer; add one to `tools`")
    if choice.type == "any":
        return names, True
    if choice.name not in names:
        known = ", ".join(map(repr, names))
        raise _refused("tool_choice.name", f"no tool is named {choice.name!r}; name one of {known}")
    return (choice.name,), True


def _output(form: Counting) -> tuple[OutputFormat | None, str]:
    """The format of the answer, and where in the body it stands."""
    now = form.output_config.format if form.output_config else None
    if now is None:
        return form.output_format, "output_format"
    if form.output_format is not None:
        raise _refused("output_format", "`output_config.format` is there, too; send one of them")
    return now, "output_config.format"


def _options(form: Counting, limits: Limits) -> DecidingOptions:
    choice = form.tool_choice
    # several only where a client says so, as in the other APIs of chats
    several = choice is not None and choice.disable_parallel_tool_use is False
    options: DecidingOptions = {"max_calls": limits.calls if several else 1}
    if not isinstance(form, Asking):
        return options
    # a model may always stop before it has said so much, as this one then does
    options["answer_tokens"] = max(1, min(form.max_tokens, limits.tokens))
    if form.temperature:
        _cuts_nothing(form)
        options["temperature"] = form.temperature
        options["seed"] = secrets.randbits(31)  # the API has none: each sample is another
    return options


def _cuts_nothing(form: Asking) -> None:
    """Refuses to cut what is sampled from; without a temperature there is nothing to cut."""
    for name, value in (("top_p", form.top_p), ("top_k", form.top_k)):
        if value is not None and not (name == "top_p" and value == 1):
            why = "samples are of all that is valid, nothing is cut; leave it out, or `temperature`"
            raise _refused(name, why)


class _Chat:
    """A chat as chat templates take it.

    Messages of one role behind each other become one, as templates want the roles to take turns. A
    call's results stand right behind it, in the order of the calls.

    Attributes:
        messages: as `Asked` has them.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages: list[dict[str, Any]] = []
        self._calls: dict[str, str] = {}  # id -> name of the tool, of those without a result so far
        self._results: dict[str, dict[str, Any]] = {}
        for number, message in enumerate(messages):
            place = f"messages.{number}"
            if message.role == "user":
                self._heard(message, place)
            else:
                self._said(message, place)
        last = f"messages.{len(messages) - 1}"
        if messages[-1].role == "assistant":
            why = "it is the assistant's; answers can't be begun for this model, so end with a user"
            raise _refused(last, f"{why}'s")
        self._answered(last)

    def _heard(self, message: Message, place: str) -> None:
        for number, block in enumerate(message.content):
            field = f"{place}.content.{number}"
            if isinstance(block, ToolUseBlock):
                raise _refused(field, "a tool_use is the assistant's, and this message a user's")
            if isinstance(block, ToolResultBlock):
                self._result(block, field)
        text = _text(message.content)
        if text:
            self._answered(place)
            self._add({"role": "user", "content": text})
        elif not any(isinstance(block, ToolResultBlock) for block in message.content):
            raise _refused(f"{place}.content", "it says nothing; write what the user says")

    def _result(self, block: ToolResultBlock, field: str) -> None:
        id = block.tool_use_id
        if id not in self._calls or id in self._results:
            why = f"no tool_use {id!r} of the message before waits for a result"
            raise _refused(f"{field}.tool_result.tool_use_id", why)
        text = _text(block.content or ())
        self._results[id] = {
            "role": "tool",
            "name": self._calls[id],
            "content": f"error: {text}" if block.is_error else text,
        }

    def _answered(self, place: str) -> None:
        """Adds the results of the last calls."""
        missing = [id for id in self._calls if id not in self._results]
        if missing:
            what = ", ".join(map(repr, missing))
            raise _refused(place, f"the calls {what} have no result; send a tool_result for each")
        self.messages += [self._results[id] for id in self._calls]
        self._calls, self._results = {}, {}

    def _said(self, message: Message, place: str) -> None:
        self._answered(place)
        calls: list[dict[str, Any]] = []
        for number, block in enumerate(message.content):
            field = f"{place}.content.{number}"
            if isinstance(block, ToolResultBlock):
                raise _refused(
                    field, "a tool_result is the user's, and this message an assistant's"
                )
            if isinstance(block, ToolUseBlock):
                if block.id in self._calls:
                    raise _refused(f"{field}.tool_use.id", f"two are {block.id!r}")
                self._calls[block.id] = block.name
                function = {"name": block.name, "arguments": block.input}
                calls.append({"type": "function", "function": function})
        text = _text(message.content)
        if text or calls:
            said = {"role": "assistant", "content": text}
            self._add({**said, "tool_calls": calls} if calls else said)

    def _add(self, message: dict[str, Any]) -> None:
        last = self.messages[-1] if self.messages else {"role": ""}
        if last["role"] != message["role"]:
            self.messages.append(message)
            return
        texts = [one["content"] for one in (last, message) if one["content"]]
        self.messages[-1] = {**last, **message, "content": _BETWEEN.join(texts)}


def _text(blocks: Sequence[object]) -> str:
    """What blocks say in words."""
    texts = [block.text for block in blocks if isinstance(block, TextBlock) and block.text]
    return _BETWEEN.join(texts)


def _refused(field: str, why: str) -> Refused:
    return Refused(400, "InvalidRequest", why, field)
