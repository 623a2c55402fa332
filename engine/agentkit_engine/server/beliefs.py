"""What the model believed of values, worked out where nobody waits for it.

Knows the engine's values. Must not know any API.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio.to_thread

from agentkit_engine.filling.outcome import Decision, Value


async def believed(*values: Value) -> None:
    """Works out how sure the model is of values, which `Value.confidence` then remembers.

    In a thread: over a large vocabulary it takes longer than other requests should wait.
    """
    await anyio.to_thread.run_sync(_remember, values, abandon_on_cancel=True)


async def believed_all(decision: Decision) -> None:
    """The same of the calls of a decision and of its answer."""
    answered = () if decision.answered is None else (decision.answered,)
    await believed(*decision.calls, *answered)


def _remember(values: Sequence[Value]) -> None:
    for one in values:
        _ = one.confidence
