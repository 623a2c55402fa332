"""Panics: how a library written in Rust says that something is beyond it.

Knows what they are called. Must not know what was asked.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def panics_as_recursion() -> Generator[None]:
    """Let a panic where Python's stack ends be the RecursionError that it began as.

    `jsonschema` looks up what schemas refer to in maps written in Rust (rpds-py). A stack that ends
    in one of those is a `PanicException`, which is no `Exception`: it would end whoever serves.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # pyo3 makes it, and exports no class
            raise
        raise RecursionError(f"the stack ended in a library: {error}") from error
