"""Truth in three values, and sets known from inside and from outside.

Knows how uncertainty combines (Kleene 1952). Must not know what is asked about. Where a set of
texts or numbers can't be told exactly, whatever lies between its inner and its outer bound is
UNKNOWN, and nothing is ever written whose truth is not YES.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, Protocol, Self, TypeVar

__all__ = ["Between", "Truth"]


class Truth(IntEnum):
    """What is known of a statement: `and` is the minimum, `or` the maximum."""

    NO = 0
    UNKNOWN = 1
    YES = 2

    def __invert__(self) -> Truth:
        return Truth(2 - self)


class _Regular(Protocol):
    def __and__(self, other: Self, /) -> Self: ...
    def __or__(self, other: Self, /) -> Self: ...
    def __invert__(self) -> Self: ...


Set = TypeVar("Set", bound=_Regular)


@dataclass(frozen=True, slots=True)
class Between(Generic[Set]):
    """A set known from inside and from outside: `inner` is part of it, it is part of `outer`."""

    inner: Set
    outer: Set

    @classmethod
    def exactly(cls, known: Set) -> Between[Set]:
        return cls(known, known)

    def __and__(self, other: Between[Set]) -> Between[Set]:
        return Between(self.inner & other.inner, self.outer & other.outer)

    def __or__(self, other: Between[Set]) -> Between[Set]:
        # spelled out: for a type checker, | of two type variables might be a union of types
        return Between(self.inner.__or__(other.inner), self.outer.__or__(other.outer))

    def __invert__(self) -> Between[Set]:
        return Between(~self.outer, ~self.inner)
