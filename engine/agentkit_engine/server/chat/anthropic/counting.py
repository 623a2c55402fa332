"""How many tokens a chat is, by the engine's own template and tokenizer.

Knows prompts. Must not know routes, nor how the chat is gone on with.
"""

from __future__ import annotations

from typing import Any

from agentkit_engine.contexts.context import declared_tool
from agentkit_engine.contexts.prompt import render_prompt
from agentkit_engine.engine import Engine
from agentkit_engine.errors import CheckpointError, TemplateError
from agentkit_engine.server.chat.asked import Asked, AskedTool
from agentkit_engine.server.transport.problems import Refused


def prompt_tokens(engine: Engine, asked: Asked) -> int:
    """As many as a turn reads before it decides. Takes its time: run it in a thread.

    Raises:
        Refused: the chat template refuses the chat, or a tool's schema refers to what is not there.
    """
    system: list[dict[str, Any]] = []
    if asked.instructions:
        system.append({"role": "system", "content": asked.instructions})
    tools = [_declared(tool) for tool in asked.tools]
    tokenizer = engine.runtime.checkpoint.tokenizer
    try:
        return len(render_prompt(tokenizer, [*system, *asked.messages], tools))
    except CheckpointError as error:
        why = f"the chat template refuses this chat: {error.__cause__ or error}"
        raise Refused(422, "ChatRefused", why, asked.place) from error


def _declared(tool: AskedTool) -> dict[str, Any]:
    try:
        return declared_tool(tool.declaration)
    except TemplateError as error:
        raise Refused(422, type(error).__name__, str(error), tool.place) from error
