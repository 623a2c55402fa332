"""The store of prefixes: what it finds, what it lets go of, and in which order."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit_engine.contexts.prefixes import PrefixStore
from agentkit_engine.denoisers.base import Denoiser, Prefix
from agentkit_engine.errors import EngineError

BYTES = 10  # that a token holds here


class Recorder:
    """What the store asks of a denoiser; it remembers nothing but how much it had to encode."""

    def __init__(self, *, window: int = 1000) -> None:
        self.window = window
        self.encoded = 0

    def encode(self, tokens: Sequence[int], *, prefix: Prefix | None = None) -> Prefix:
        self.encoded += len(tokens)
        return Prefix((*(prefix.tokens if prefix else ()), *tokens), None)

    def rewind(self, prefix: Prefix, length: int) -> Prefix | None:
        if length == prefix.length:
            return prefix
        if not 0 < length < prefix.length or prefix.length >= self.window:
            return None
        return Prefix(prefix.tokens[:length], None)

    def nbytes(self, prefix: Prefix) -> int:
        return BYTES * prefix.length


def store_of(recorder: Recorder, *, tokens: int) -> PrefixStore:
    """A store with room for so many tokens."""
    return PrefixStore(cast(Denoiser, recorder), budget=BYTES * tokens)


def prefix(*tokens: int) -> Prefix:
    return Prefix(tokens, None)


def stored(store: PrefixStore, *tokens: int) -> bool:
    """Whether just these tokens are found whole."""
    found = store.longest(tokens)
    return found is not None and found.tokens == tokens


sequences = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple)


@given(kept=st.lists(sequences, max_size=8), asked=sequences, window=st.integers(1, 7))
def test_the_longest_is_found(
    kept: list[tuple[int, ...]], asked: tuple[int, ...], window: int
) -> None:
    recorder = Recorder(window=window)
    store = store_of(recorder, tokens=1000)
    stands = [store.stand(tokens) for tokens in kept]  # nothing is needless
    for tokens in kept:
        store.keep(Prefix(tokens, None))

    def usable(tokens: tuple[int, ...]) -> int:
        common = next(
            (n for n, (a, b) in enumerate(zip(tokens, asked, strict=False)) if a != b),
            min(len(tokens), len(asked)),
        )
        return common if len(tokens) in (common, min(len(tokens), window - 1)) else 0

    found = store.longest(asked)
    assert (found.tokens if found else ()) == asked[: max(map(usable, kept), default=0)]
    assert store.statistics.entries == len(set(kept))
    assert len(stands) == len(kept)


def test_what_is_stored_whole_is_given_back_itself() -> None:
    store = store_of(Recorder(), tokens=100)
    short, long = prefix(1, 2), prefix(1, 2, 3)
    stand = store.stand(short.tokens)
    store.keep(short)
    store.keep(long)
    assert store.longest((1, 2)) is short
    assert store.longest((1, 2, 3, 4)) is long
    del stand


def test_over_budget_the_least_recently_used_goes() -> None:
    store = store_of(Recorder(), tokens=6)
    stands = [store.stand((n, n)) for n in range(4)]
    for n in range(3):
        store.keep(prefix(n, n))
    assert stored(store, 0, 0)
    store.keep(prefix(3, 3))
    assert [stored(store, n, n) for n in range(4)] == [True, False, True, True]
    statistics = store.statistics
    assert (statistics.entries, statistics.bytes, statistics.evictions) == (3, 60, 1)
    assert (statistics.hits, statistics.misses) == (4, 1)
    del stands


def test_what_nobody_stands_at_goes_first() -> None:
    store = store_of(Recorder(), tokens=6)
    stands = [store.stand((n, n)) for n in (0, 2, 3)]
    for n in range(3):
        store.keep(prefix(n, n))
    assert stored(store, 1, 1)  # used last, but nobody stands there
    store.keep(prefix(3, 3))
    assert [stored(store, n, n) for n in range(4)] == [True, False, True, True]
    stands.pop()
    store.keep(prefix(4, 4))  # nor there; what has just come stays nonetheless
    assert [stored(store, n, n) for n in range(5)] == [True, False, True, False, True]


def test_two_may_stand_at_the_same_place() -> None:
    store = store_of(Recorder(), tokens=4)
    first, second = store.stand((0, 0)), store.stand((0, 0))
    del first
    store.keep(prefix(0, 0))
    store.keep(prefix(1, 1))
    store.keep(prefix(2, 2))
    assert [stored(store, n, n) for n in range(3)] == [True, False, True]
    store.drop((0, 0))
    assert stored(store, 0, 0)
    del second
    store.drop((0, 0))
    store.drop((5, 5))
    assert not stored(store, 0, 0)


def test_a_shared_beginning_outlives_what_stands_behind_it() -> None:
    store = store_of(Recorder(), tokens=12)
    stands = [store.stand((9,)), *(store.stand((9, n, n)) for n in range(9))]
    store.keep(prefix(9))
    for n in range(9):
        store.keep(prefix(9, n, n))
    assert stored(store, 9)
    assert stored(store, 9, 8, 8)
    assert not stored(store, 9, 0, 0)
    del stands


@pytest.mark.parametrize("window", [1000, 3])
def test_what_is_grown_past_goes_where_it_can_be_rewound_to(window: int) -> None:
    store = store_of(Recorder(window=window), tokens=100)
    head, here = store.stand((1,)), store.stand((1, 2, 3))
    store.keep(prefix(1))
    store.keep(prefix(1, 2, 3))
    here = store.stand((1, 2, 3, 4))
    store.keep(prefix(1, 2, 3, 4))
    assert store.statistics.entries == (2 if window == 1000 else 3)
    assert stored(store, 1, 2, 3)
    assert stored(store, 1)
    del head, here


def test_a_budget_too_small_for_one_prefix_stores_none() -> None:
    for tokens in (0, 2):
        store = store_of(Recorder(), tokens=tokens)
        store.keep(prefix(1, 2, 3))
        assert store.statistics.entries == store.statistics.bytes == 0
        assert store.longest((1, 2, 3)) is None
    assert store.budget == 2 * BYTES
    with pytest.raises(EngineError, match="-1 bytes"):
        PrefixStore(cast(Denoiser, Recorder()), budget=-1)


def test_what_was_asked_for_twice_is_encoded_once() -> None:
    recorder = Recorder()
    store = store_of(recorder, tokens=100)
    head = store.encode((1, 2, 3))
    assert store.encode((1, 2, 3)) is head
    assert store.encode((4,), prefix=head) is store.encode((3, 4), prefix=prefix(1, 2))
    assert recorder.encoded == 4


commands = st.lists(
    st.tuples(st.sampled_from(["keep", "stand", "leave", "drop", "longest"]), sequences),
    max_size=40,
)


@given(commands=commands, budget=st.integers(0, 12), window=st.integers(1, 7))
@settings(max_examples=200, deadline=None)
def test_the_budget_holds_whatever_happens(
    commands: list[tuple[str, tuple[int, ...]]], budget: int, window: int
) -> None:
    recorder = Recorder(window=window)
    store = store_of(recorder, tokens=budget)
    stands: dict[tuple[int, ...], Any] = {}
    for command, tokens in commands:
        if command == "keep":
            store.keep(Prefix(tokens, None))
            # what was just kept is there, or there is no room for it
            assert stored(store, *tokens) == (len(tokens) <= budget)
        elif command == "stand":
            stands[tokens] = store.stand(tokens)
        elif command == "leave":
            stands.pop(tokens, None)
        elif command == "drop":
            store.drop(tokens)
        else:
            found = store.longest(tokens)
            assert found is None or found.tokens == tokens[: found.length]
        statistics = store.statistics
        assert statistics.bytes <= BYTES * budget
        assert (statistics.bytes == 0) == (statistics.entries == 0)


def test_threads_may_share_a_store() -> None:
    store = store_of(Recorder(), tokens=40)
    faults: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for n in range(150):
                tokens = (7, seed, n % 5, n % 3)
                stand = store.stand(tokens)
                store.encode(tokens[2:], prefix=store.encode(tokens[:2]))
                found = store.longest(tokens)
                assert found is None or tokens[: found.length] == found.tokens
                store.drop(tokens)
                del stand
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert store.statistics.bytes <= store.budget
