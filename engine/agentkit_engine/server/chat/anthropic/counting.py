"""How many tokens a chat is, by the engine's own template and tokenizer.

Knows prompts. Must not know routes, nor how the chat is gone on with.
"""

from __future__ import annotations

from typing import Any

from agentkit_engine.contexts.context import declared_tool
from agentkit_engine.contexts.prompt import render_prompt
from agentkit_engine.engine import Engine
from agentkit_engine.server.chat.asked import Asked


def prompt_tokens(engine: Engine, asked: Asked) -> int:
    """As many as a turn reads before it decides. Takes its time: run it in a thread.

    Raises:
        CheckpointError: the chat template refuses the chat.
        UnsupportedSchema: a tool's schema refers to what is not there.
    """
    system: list[dict[str, Any]] = []
    if asked.instructions:
        system.append({"role": "system", "content": asked.instructions})
    tools = [declared_tool(tool.declaration) for tool in asked.tools]
    tokenizer = engine.runtime.checkpoint.tokenizer
    return len(render_prompt(tokenizer, [*system, *asked.messages], tools))
