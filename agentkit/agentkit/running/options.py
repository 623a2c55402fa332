"""What a run may be told beside its request. Knows types alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from agentkit.backend import ModelSettings
from agentkit.message import Message
from agentkit.policies.stop import Stop
from agentkit.policies.transient import RetryPolicy, Transient
from agentkit.running.plan import Approver

if TYPE_CHECKING:
    from agentkit.event import Event
    from agentkit.running.cancellation import Cancellation

OnEvent: TypeAlias = "Callable[[Event], Awaitable[None] | None]"


class RunOptions(TypedDict, total=False):
    """What a run is told beside its request.

    history: that of an earlier result.
    conversation: the key of the one to go on with in the agent's store.
    settings: what differs from the agent's.
    stop, retry: in place of the agent's.
    approve: asked about calls that need approval; without it the run pauses.
    cancellation: ends the run when told to.
    """

    history: Sequence[Message]
    conversation: str | None
    settings: ModelSettings | None
    stop: Stop | None
    retry: RetryPolicy | Transient | None
    approve: Approver | None
    cancellation: Cancellation | None
