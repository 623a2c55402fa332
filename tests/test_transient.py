"""Retry policies: what is tried again, when it is given up, and what is never tried again."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable

import anyio
import pytest
from tenacity import (
    AsyncRetrying,
    Retrying,
    retry_always,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    stop_never,
    wait_none,
)

from agentkit import DefinitionError, tool
from agentkit.policies import transient as room
from agentkit.policies.transient import Transient, is_transient, retrying, transient
from agentkit.signals import Deferred, Retry


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries are for the world outside, not for tests."""
    monkeypatch.setattr(room, "_FIRST_WAIT", 0.0)
    monkeypatch.setattr(room, "_LONGEST_WAIT", 0.0)


class Failing:
    """Fails with these, one a try, and then succeeds."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.tries = 0

    async def __call__(self) -> str:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def everything(attempts: int = 3) -> Transient:
    """A policy that tries everything again, as far as it may."""
    return transient(
        AsyncRetrying(stop=stop_after_attempt(attempts), wait=wait_none(), retry=retry_always),
        "test",
    )


async def test_what_passes_is_tried_again() -> None:
    attempt = Failing(ConnectionResetError(), TimeoutError())
    assert await transient(stop_after_attempt(3), "test").call(attempt) == "done"
    assert attempt.tries == 3


async def test_without_a_policy_there_is_one_try() -> None:
    attempt = Failing(TimeoutError("slow"))
    with pytest.raises(TimeoutError) as caught:
        await retrying(None, attempt)
    assert attempt.tries == 1
    assert not hasattr(caught.value, "__notes__")


async def test_the_last_failure_comes_as_it_is_and_says_how_often_it_was_tried() -> None:
    last = ConnectionError("third")
    attempt = Failing(ConnectionError("first"), TimeoutError("second"), last)
    with pytest.raises(ConnectionError) as caught:
        await retrying(transient(stop_after_attempt(3), "test"), attempt)
    assert caught.value is last
    assert last.__notes__ == ["tried 3 times"]


async def test_stop_policies_compose() -> None:
    attempt = Failing(*(TimeoutError() for _ in range(9)))
    with pytest.raises(TimeoutError):
        await transient(stop_after_attempt(2) | stop_after_delay(60), "test").call(attempt)
    assert attempt.tries == 2


async def test_what_lasts_is_not_tried_again() -> None:
    attempt = Failing(ValueError("no such city"))
    with pytest.raises(ValueError, match="no such city") as caught:
        await transient(stop_after_attempt(3), "test").call(attempt)
    assert attempt.tries == 1
    assert not hasattr(caught.value, "__notes__")


class Overloaded(Exception):
    transient = True


class Refused(ConnectionError):
    transient = False


def raised_from(cause: BaseException) -> Exception:
    error = RuntimeError("the client's own")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (OSError("network unreachable"), True),
        (Overloaded(), True),
        (raised_from(raised_from(TimeoutError())), True),
        (Refused(), False),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (IsADirectoryError(), False),
        (ssl.SSLCertVerificationError(), False),
        (ValueError(), False),
        (raised_from(KeyError()), False),
    ],
    ids=repr,
)
def test_which_failures_pass(error: BaseException, passes: bool) -> None:
    assert is_transient(error) is passes


async def test_a_whole_policy_is_used_as_it_is() -> None:
    asked = AsyncRetrying(
        stop=stop_after_attempt(2), wait=wait_none(), retry=retry_if_exception_type(KeyError)
    )
    policy = transient(asked, "test")
    attempt = Failing(KeyError("a"), KeyError("b"), KeyError("c"))
    with pytest.raises(KeyError, match="b"):
        await policy.call(attempt)
    assert attempt.tries == 2
    other = Failing(TimeoutError())
    with pytest.raises(TimeoutError):
        await policy.call(other)
    assert other.tries == 1


async def test_a_policy_may_look_at_results_and_await() -> None:
    answers = iter(["", "", "full"])

    async def attempt() -> str:
        return next(answers)

    async def patient(state: object) -> bool:
        await anyio.lowlevel.checkpoint()
        return retry_if_result(lambda text: not text)(state)  # type: ignore[arg-type]

    policy = AsyncRetrying(stop=stop_never, wait=wait_none(), retry=patient)
    assert await transient(policy, "test").call(attempt) == "full"


@pytest.mark.parametrize("signal", [Retry("wrong day", value="day"), Deferred("ticket 1")])
async def test_signals_are_never_tried_again(signal: Exception) -> None:
    attempt = Failing(signal)
    with pytest.raises(type(signal)):
        await everything().call(attempt)
    assert attempt.tries == 1


async def test_cancellation_ends_a_try_and_is_not_tried_again() -> None:
    tries = 0

    async def hangs() -> None:
        nonlocal tries
        tries += 1
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await everything().call(hangs)
    assert (scope.cancelled_caught, tries) == (True, 1)


async def test_cancellation_ends_the_wait_between_two_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "_FIRST_WAIT", 3600.0)
    monkeypatch.setattr(room, "_LONGEST_WAIT", 3600.0)
    policy = transient(stop_never, "test")
    attempt = Failing(TimeoutError(), TimeoutError())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(policy.call, attempt)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert attempt.tries == 1


async def test_one_policy_serves_many_at_once() -> None:
    policy = transient(stop_after_attempt(3), "test")
    attempts = [Failing(*(TimeoutError() for _ in range(number % 3))) for number in range(30)]

    async def check(attempt: Callable[[], Awaitable[str]]) -> None:
        assert await policy.call(attempt) == "done"

    async with anyio.create_task_group() as tasks:
        for attempt in attempts:
            tasks.start_soon(check, attempt)
    assert [attempt.tries for attempt in attempts] == [1 + number % 3 for number in range(30)]


def test_a_policy_is_taken_as_it_was_made() -> None:
    policy = transient(stop_after_attempt(3), "test")
    assert transient(policy, "test") is policy


def plain(a: int) -> int:
    return a


@pytest.mark.parametrize("wrong", [3, "often", Retrying(), plain])
def test_what_is_no_policy_is_refused_with_the_mend(wrong: object) -> None:
    with pytest.raises(DefinitionError, match="stop_after_attempt") as caught:
        tool(plain, retry=wrong)  # type: ignore[call-overload]
    assert "'plain'" in str(caught.value)


def test_tenacity_is_imported_only_for_a_policy() -> None:
    code = (
        "import sys, agentkit; agentkit.tool(lambda: 1, name='one'); "
        "assert 'tenacity' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
