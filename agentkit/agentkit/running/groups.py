"""Task groups that don't wrap the errors of the block that owns them.

Knows anyio alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def owned_group() -> AsyncGenerator[TaskGroup]:
    """A task group for tasks that raise nothing; an error of the block cancels them and comes out.

    anyio's own wraps the block's error into an exception group, which callers would have to unwrap.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        try:
            yield group
        except Exception as error:
            failure = error
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure
