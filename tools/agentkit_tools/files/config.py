"""What the file tools may touch, and how much of it. Knows limits only."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from agentkit_tools.system.rooted import HIDDEN

Change: TypeAlias = Literal["write", "edit", "append", "move", "delete"]


class FilesConfig(BaseModel):
    """Which folder the tools work in, and within what limits."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    root: Path
    """The folder that holds all that is read and changed."""
    read_only: bool = False
    """Whether only the tools that read are offered."""
    approve: frozenset[Change] = frozenset({"delete"})
    """Changes that wait for a human each time."""
    hidden: tuple[str, ...] = HIDDEN
    """Patterns of names that are neither shown nor reached, at any depth."""
    file_bytes: int = Field(default=2_000_000, ge=1, le=100_000_000)
    """Bytes of a file that is read, searched or written."""
    result_characters: int = Field(default=20_000, ge=200)
    """Characters that reading tells at once."""
    results: int = Field(default=100, ge=1, le=10_000)
    """Entries or lines that listing and searching tell."""
    seconds: float = Field(default=10.0, gt=0, le=600)
    """Seconds that finding and searching may take."""
    fallback_encoding: str | None = "cp1252"
    """How to read a file that has no byte order mark and is no UTF-8; None: as binary."""
