"""Several calls in one canvas: their rows one behind the other.

Knows forms. Must not know layouts, templates or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from agentkit_engine.errors import CanvasTooShort
from agentkit_engine.layouts.forms import Choice, Form, Region

__all__ = ["joined"]


def joined(forms: Sequence[Form], room: int) -> Form:
    """One row of several forms that say something; its value is the list of theirs.

    Raises:
        CanvasTooShort: together they are wider than `room`.
    """
    starts = [0, *accumulate(form.width for form in forms)]
    if starts[-1] > room:
        raise CanvasTooShort(needed=starts[-1], available=room)
    owners = [k for k, form in enumerate(forms) for _ in form.regions]
    firsts = [0, *accumulate(len(form.regions) for form in forms)]

    def literal(before: int, to: int) -> tuple[int, ...]:
        """Through the end of one call, whole calls without a value, and into another."""
        first = owners[before] if before >= 0 else 0
        last = owners[to] if to < len(owners) else len(forms) - 1
        said: list[int] = []
        for k in range(first, last + 1):
            literal = forms[k].literal
            assert literal is not None
            begin = before - firsts[k] if before >= 0 and k == first else -1
            end = to - firsts[k] if to < len(owners) and k == last else len(forms[k].regions)
            said += literal(begin, end)
        return tuple(said)

    def read(row: Sequence[int]) -> list[Any]:
        return [
            form.read(row[start : start + form.width])
            for form, start in zip(forms, starts, strict=False)
        ]

    return Form(
        name=" ".join(form.name for form in forms),
        tokens=tuple(token for form in forms for token in form.tokens),
        regions=tuple(
            _moved(region, start, f"/{k}")
            for k, (form, start) in enumerate(zip(forms, starts, strict=False))
            for region in form.regions
        ),
        read=read,
        literal=literal,
        role=forms[0].role,
    )


def _moved(region: Region | Choice, by: int, pointer: str) -> Region | Choice:
    start, stop = region.start + by, region.stop + by
    if isinstance(region, Choice):
        return replace(region, start=start, stop=stop)
    return replace(region, start=start, stop=stop, pointer=pointer + region.pointer)
