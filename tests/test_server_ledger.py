"""The ledger: servers that share their sessions by it, and what it keeps of how many."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Literal

import pytest
from tiny import WEATHER

from agentkit_engine import Engine
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.native.ledger import Entry, Told
from agentkit_engine.server.native.sessions import Sessions
from agentkit_engine.server.native.wire import Extending, Forking, Message, Opening, Tool
from agentkit_engine.server.scaling.ledger import Ledger
from agentkit_engine.server.transport.problems import Refused

ID, OTHER = "0123456789abcdef", "fedcba9876543210"
TOOL = Tool(**WEATHER["function"])
HELLO = Message(role="user", content="is it warm in Paris?")


class Here:
    """A ledger in this process, asked as one in another."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def open(self, id: str, opening: bytes, messages: Sequence[bytes]) -> int | None:
        return self.ledger.open(id, opening, messages)

    async def look(
        self, id: str, known: int | None = None
    ) -> Entry | Literal["same", "closed"] | None:
        return self.ledger.look(id, known)

    async def change(self, id: str, known: int, after: int, messages: Sequence[bytes]) -> Told:
        return self.ledger.change(id, known, after, messages)

    async def close(self, id: str) -> None:
        self.ledger.close(id)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(sessions=8, size=100_000, idle_seconds=60)


@pytest.fixture
def servers(engine: Engine, ledger: Ledger) -> Generator[tuple[Sessions, Sessions]]:
    limits = Limits(sessions=2)
    one, two = (Sessions(engine, limits=limits, ledger=Here(ledger)) for _ in range(2))
    yield one, two
    one.close_all()
    two.close_all()


def said(*texts: str, after: int | None = None) -> Extending:
    return Extending(after=after, messages=[Message(role="user", content=text) for text in texts])


async def grown(sessions: Sessions, more: Extending, id: str = ID) -> list[str]:
    """What a session says once it has grown."""
    async with sessions.using(id) as held:
        await held.extend(more)
        return [message["content"] for message in held.chat]


async def refused(sessions: Sessions, id: str = ID) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        await grown(sessions, Extending(), id)
    return caught.value.status, caught.value.kind


async def test_a_server_goes_on_where_another_was(servers: tuple[Sessions, Sessions]) -> None:
    one, two = servers
    await one.create(Opening(id=ID, instructions="Be brief", tools=[TOOL], messages=[HELLO]))
    assert await grown(one, said("a")) == [HELLO.content, "a"]
    assert await grown(two, said("b")) == [HELLO.content, "a", "b"]
    assert await grown(one, said("c", after=2)) == [HELLO.content, "a", "c"]
    assert await grown(two, said()) == [HELLO.content, "a", "c"]
    [here, there] = [await sessions.find(ID) for sessions in servers]
    assert here.opening == there.opening
    assert here.session.messages == there.session.messages


async def test_two_servers_can_not_both_go_on_from_the_same(
    servers: tuple[Sessions, Sessions],
) -> None:
    one, two = servers
    await one.create(Opening(id=ID, messages=[HELLO]))

    async def both() -> None:
        async with one.using(ID) as held:
            await held.extend(said("lost"))
            assert await grown(two, said("won")) == [HELLO.content, "won"]

    with pytest.raises(Refused, match="changed elsewhere meanwhile") as caught:
        await both()
    assert (caught.value.status, caught.value.kind) == (409, "SessionGone")
    assert await grown(one, said()) == [HELLO.content, "won"]


async def test_what_is_closed_at_one_server_is_closed_at_all(
    servers: tuple[Sessions, Sessions],
) -> None:
    one, two = servers
    await one.create(Opening(id=ID, messages=[HELLO]))
    await grown(two, said("a"))

    async def late() -> None:
        async with one.using(ID) as held:
            await two.delete(ID)
            await held.extend(said("late"))

    with pytest.raises(Refused, match="closed elsewhere meanwhile"):
        await late()
    for sessions in servers:
        assert await refused(sessions) == (410, "SessionGone")
        with pytest.raises(Refused, match="choose ids at random"):
            await sessions.create(Opening(id=ID))
        assert len(sessions) == 0


async def test_what_a_server_lets_go_is_made_anew(servers: tuple[Sessions, Sessions]) -> None:
    one, _ = servers
    ids = [f"{number:016}" for number in range(4)]
    for id in ids:
        await one.create(Opening(id=id, messages=[HELLO]))
    assert len(one) == 2
    for id in ids:
        assert await grown(one, said("more"), id) == [HELLO.content, "more"]
    assert await refused(one, OTHER) == (404, "SessionGone")


async def test_a_fork_goes_on_by_itself(servers: tuple[Sessions, Sessions]) -> None:
    one, two = servers
    await one.create(Opening(id=ID, messages=[HELLO]))
    await grown(one, said("a"))
    await one.fork(ID, Forking(id=OTHER, messages=1))
    assert await grown(two, said("b"), OTHER) == [HELLO.content, "b"]
    assert await grown(two, said()) == [HELLO.content, "a"]


async def test_the_same_asked_again_makes_the_same_session(
    servers: tuple[Sessions, Sessions],
) -> None:
    one, two = servers
    opening = Opening(id=ID, tools=[TOOL], messages=[HELLO])
    for sessions in servers:  # the first answer was lost with its server
        await sessions.create(opening)
    await grown(two, said("a"))
    one.close(ID)
    with pytest.raises(Refused) as caught:
        await one.create(opening)
    assert (caught.value.status, caught.value.kind) == (409, "SessionExists")
    assert await grown(one, said()) == [HELLO.content, "a"]


async def test_what_failed_is_not_acknowledged(servers: tuple[Sessions, Sessions]) -> None:
    one, two = servers
    await one.create(Opening(id=ID, messages=[HELLO]))

    async def failed() -> None:
        async with one.using(ID) as held:
            await held.extend(said("a"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failed()
    assert await grown(two, said()) == [HELLO.content]
    assert await grown(one, said("b")) == [HELLO.content, "a", "b"]
    assert await grown(two, said()) == [HELLO.content, "a", "b"]


async def test_a_ledger_that_forgot_is_told_anew(
    servers: tuple[Sessions, Sessions], ledger: Ledger
) -> None:
    one, two = servers
    await one.create(Opening(id=ID, messages=[HELLO]))
    ledger.__init__(sessions=8, size=100_000, idle_seconds=60)  # type: ignore[misc]
    assert await refused(two) == (404, "SessionGone")
    assert await grown(one, said("a")) == [HELLO.content, "a"]
    assert await grown(two, said()) == [HELLO.content, "a"]


def test_it_keeps_so_many_sessions_and_bytes() -> None:
    now = 0.0
    ledger = Ledger(sessions=3, size=100, idle_seconds=10, clock=lambda: now)
    for id in "abcd":
        assert ledger.open(id, b"x" * 10, [b"y" * 10]) == 0
    assert ledger.held() == (3, 60)
    assert ledger.look("a") is None
    assert isinstance(ledger.look("b"), Entry)  # now the latest
    assert ledger.change("d", 0, 1, [b"z" * 50]) == "kept"
    assert ledger.held() == (2, 90)
    assert ledger.look("c") is None
    assert ledger.change("b", 0, 1, [b"z" * 200]) == "kept"
    assert ledger.held() == (0, 0), "what has no room by itself is not kept"
    ledger.open("e", b"x", [])
    now = 11.0
    ledger.open("f", b"x", [])
    assert ledger.look("e") is None


def test_a_change_is_of_one_version() -> None:
    ledger = Ledger(sessions=8, size=1000, idle_seconds=10)
    assert ledger.change("a", 0, 0, []) == "unknown"
    ledger.open("a", b"{}", [b"1", b"2"])
    assert ledger.change("a", 0, 1, [b"3"]) == "kept"
    assert ledger.change("a", 0, 1, [b"4"]) == "moved"
    assert ledger.look("a", 1) == "same"
    assert ledger.look("a", 0) == Entry(b"{}", (b"1", b"3"), 1)
    ledger.close("a")
    assert ledger.look("a") == "closed"
    assert ledger.change("a", 1, 0, []) == "closed"
    assert ledger.open("a", b"{}", []) is None
