"""Trying again what failed in passing: `retry=stop_after_attempt(3) | stop_after_delay(10)`.

A stop policy of tenacity says when to give up; what is tried again, and after how long, is said
here. A whole `tenacity.AsyncRetrying` says all of it itself. Knows exceptions and tenacity; must
not know what is tried.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import anyio

from agentkit.errors import DefinitionError
from agentkit.signals import Deferred, Retry

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState
    from tenacity.stop import stop_base

T = TypeVar("T")
RetryPolicy: TypeAlias = "stop_base | AsyncRetrying"

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 10.0  # seconds; doubled from one try to the next
# Errors of the operating system that a second try meets again.
_LASTING = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ValueError,  # some are both: a certificate that is not valid, a file not open for writing
)


@dataclass(frozen=True, slots=True)
class Transient:
    """A retry policy, checked and ready for any number of uses at once."""

    retrying: AsyncRetrying

    async def call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Await `attempt` until it succeeds, fails for good, or the policy gives up.

        Raises the last failure as it is, with a note of the number of attempts where there were
        several. Cancellation, `Retry` and `Deferred` are never tried again.
        """
        attempts = 0

        async def counted() -> T:
            nonlocal attempts
            attempts += 1
            return await attempt()

        # A copy: tenacity keeps the figures of a use in the object.
        policy = self.retrying.copy(retry=_unless_signalled(self.retrying.retry), reraise=True)
        try:
            return await policy(counted)
        except Exception as error:
            if attempts > 1:
                error.add_note(f"tried {attempts} times")
            raise


async def retrying(policy: Transient | None, attempt: Callable[[], Awaitable[T]]) -> T:
    """Await `attempt`; again, where there is a policy and it says so."""
    return await attempt() if policy is None else await policy.call(attempt)


def transient(policy: object, where: str) -> Transient:
    """Check what `retry=` was given; `where` is how an error names what it was given to.

    Raises:
        DefinitionError: it is no policy.
    """
    from tenacity import AsyncRetrying, retry_if_exception, wait_exponential, wait_random
    from tenacity.stop import stop_base

    if isinstance(policy, Transient):
        return policy
    if isinstance(policy, AsyncRetrying):
        return Transient(policy)
    if not isinstance(policy, stop_base):
        raise DefinitionError(
            f"{where}: retry={policy!r} is no retry policy; give one of tenacity's, such as "
            "`stop_after_attempt(3) | stop_after_delay(10)`, or a whole `AsyncRetrying(...)`"
        )
    # The random part keeps those that failed together from coming back together.
    wait = wait_exponential(_FIRST_WAIT, _LONGEST_WAIT) + wait_random(0, _FIRST_WAIT)
    again = retry_if_exception(is_transient)
    return Transient(AsyncRetrying(stop=policy, wait=wait, retry=again, sleep=anyio.sleep))


def is_transient(error: BaseException) -> bool:
    """Whether a failure may pass: connections, timeouts, an overloaded system.

    An exception that has an attribute `transient` says so itself; one raised from another, as
    HTTP clients do, is what its cause is.
    """
    said = getattr(error, "transient", None)
    if said is not None:
        return bool(said)
    if isinstance(error, OSError):
        return not isinstance(error, _LASTING)
    return error.__cause__ is not None and is_transient(error.__cause__)


def _unless_signalled(test: Callable[..., Any]) -> Callable[[RetryCallState], Awaitable[bool]]:
    async def again(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome is not None else None
        if error is not None and (
            isinstance(error, Retry | Deferred) or not isinstance(error, Exception)
        ):
            return False
        verdict = test(state)
        return bool(await verdict if isawaitable(verdict) else verdict)

    return again
