"""Arrays and finished automata on disk.

Knows files and arrays. Must not know how automata come to be. A file is written aside and renamed,
so that readers and other writers never see half of one; what is broken or of another format is
taken for absent; what can't be written is not. Files least recently read go first.
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.token.automaton import TokenAutomaton

__all__ = ["FORMAT", "PATH_VARIABLE", "Cache", "default_folder", "key_of"]

FORMAT = 1
"""Raised whenever the same schema, options and vocabulary come to give another automaton."""

PATH_VARIABLE = "AGENTKIT_CACHE_PATH"

_MAGIC = b"agentkit arrays\n"
_ALIGNED = 64
Arrays = Mapping[str, NDArray[Any]]


def default_folder() -> Path:
    """Where the cache lives: `$AGENTKIT_CACHE_PATH`, or the user's cache folder."""
    if named := os.environ.get(PATH_VARIABLE):
        return Path(named).expanduser()
    from platformdirs import user_cache_path  # only looked for when no path was named

    return user_cache_path("agentkit") / "grammar"


def key_of(*parts: bytes | str) -> str:
    """A name for what is determined by these parts, and by the format."""
    digest = blake2b(f"{FORMAT}\n".encode(), digest_size=16)
    for part in parts:
        text = part.encode() if isinstance(part, str) else part
        digest.update(len(text).to_bytes(8, "little") + text)
    return digest.hexdigest()


class Cache:
    """A folder of at most `limit` bytes; made when something is first put into it."""

    def __init__(self, folder: str | Path | None = None, *, limit: int = 1 << 28) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()
        self.limit = limit

    def arrays(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The arrays put under a key, or None."""
        path = self.folder / key
        try:
            with path.open("rb") as file:
                held = bytearray(os.fstat(file.fileno()).st_size)
                whole = file.readinto(held) == len(held)
            found = _read(held) if whole else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        if found is not None:
            with suppress(OSError):
                os.utime(path)
        return found

    def put_arrays(self, key: str, arrays: Arrays) -> None:
        """Keeps arrays under a key, in place of those it had."""
        temporary = ""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix="new-", delete=False) as file:
                temporary = file.name
                file.writelines(_written(arrays))
            Path(temporary).replace(self.folder / key)
            self._trim()
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)

    def automaton(
        self, key: str, *, repeats: Callable[[Sequence[int]], bool] | None = None
    ) -> TokenAutomaton | None:
        """The automaton put under a key, or None. repeats: what it had, which files can't hold."""
        found = self.arrays(key)
        try:
            return None if found is None else _unpacked(found, "", repeats)
        except (KeyError, ValueError, TypeError):
            return None

    def put_automaton(self, key: str, automaton: TokenAutomaton) -> None:
        """Keeps an automaton under a key."""
        self.put_arrays(key, _packed(automaton, ""))

    def _trim(self) -> None:
        entries = [(entry.stat(), entry.path) for entry in os.scandir(self.folder)]
        held = sum(stat.st_size for stat, _ in entries)
        for stat, path in sorted(entries, key=lambda one: one[0].st_mtime_ns):
            if held <= self.limit:
                return
            with suppress(OSError):
                os.unlink(path)
            held -= stat.st_size


def _written(arrays: Arrays) -> list[bytes]:
    """The file's parts: a line of text, how long the header is and the sum of the rest, the header
    (where each array stands behind it), the arrays."""
    places: dict[str, tuple[str, tuple[int, ...], int]] = {}
    body: list[bytes] = []
    at = 0
    for name, array in arrays.items():
        content = np.ascontiguousarray(array).tobytes()
        places[name] = (array.dtype.str, array.shape, at)
        padded = content + bytes(-len(content) % _ALIGNED)
        body.append(padded)
        at += len(padded)
    header = json.dumps(places).encode()
    header += b" " * (-(len(header) + len(_MAGIC) + 16) % _ALIGNED)
    total = header + b"".join(body)
    sizes = len(header).to_bytes(8, "little") + zlib.crc32(total).to_bytes(8, "little")
    return [_MAGIC, sizes, total]


def _read(held: bytearray) -> dict[str, NDArray[Any]] | None:
    """The arrays of a file, or None if it is not whole. They lie in `held`."""
    start = len(_MAGIC) + 16
    if len(held) < start or not held.startswith(_MAGIC):
        return None
    size = int.from_bytes(held[start - 16 : start - 8], "little")
    if zlib.crc32(memoryview(held)[start:]) != int.from_bytes(held[start - 8 : start], "little"):
        return None
    places: dict[str, tuple[str, list[int], int]] = json.loads(held[start : start + size])
    return {
        name: np.frombuffer(
            held, np.dtype(kind), int(np.prod(shape, dtype=np.int64)), start + size + at
        ).reshape(shape)
        for name, (kind, shape, at) in places.items()
    }


_PARTS = ("src", "dst", "set", "set_first", "set_class", "accepting")


def _packed(automaton: TokenAutomaton, prefix: str) -> dict[str, NDArray[Any]]:
    short = automaton.classes < 1 << 15
    found: dict[str, NDArray[Any]] = {
        f"{prefix}class_of": automaton.class_of.astype(np.int16 if short else np.int32),
        f"{prefix}numbers": np.array([automaton.start, automaton.min_tokens]),
        **{prefix + part: getattr(automaton, part) for part in _PARTS},
    }
    if automaton.strict is not None:
        found |= _packed(automaton.strict, f"{prefix}strict.")
    return found


def _unpacked(
    arrays: Arrays, prefix: str, repeats: Callable[[Sequence[int]], bool] | None
) -> TokenAutomaton:
    start, min_tokens = arrays[f"{prefix}numbers"].tolist()
    inner = f"{prefix}strict."
    strict = _unpacked(arrays, inner, None) if f"{inner}numbers" in arrays else None
    parts: dict[str, Any] = {part: arrays[prefix + part] for part in _PARTS}
    return TokenAutomaton(
        class_of=arrays[f"{prefix}class_of"].astype(np.int32),
        **parts,
        start=start,
        min_tokens=min_tokens,
        repeats=repeats if strict is not None else None,
        strict=strict,
    )
