"""What the tests of plugins share: tools, plugins with and without settings, and what they did."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr, field_validator

from agentkit import Plugin, Toolset, tool


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool
def sub(a: int, b: int) -> int:
    """Subtract."""
    return a - b


PAIR = Toolset("pair", [add, sub])


class Limits(BaseModel):
    rows: int = 100
    seconds: float = 5.0


class Database(BaseModel):
    url: str
    mode: Literal["read", "write"] = "read"
    tables: tuple[str, ...] = ()
    limits: Limits = Limits()
    token: SecretStr | None = Field(default=None, description="What the server asks for.")

    @field_validator("token", mode="before")
    @classmethod
    def short(cls, value: Any) -> Any:
        if isinstance(value, str) and len(value) > 20:
            raise ValueError(f"{value} is too long")
        return value


LOG: list[str] = []
"""What the plugins made by `living` did."""


def living(name: str, **options: Any) -> Plugin[None]:
    """A plugin that is opened and closed, and writes down both."""

    @asynccontextmanager
    async def opening() -> AsyncGenerator[Toolset]:
        LOG.append(f"open {name}")
        try:
            yield Toolset(name, [named(name)])
        finally:
            LOG.append(f"close {name}")

    return Plugin(name, open=opening, **options)


def named(name: str) -> Any:
    def work() -> str:
        """Say which."""
        return name

    return tool(work, name=f"say_{name}")


FIRST = living("first")
SQL = Plugin("sql", config=Database, open=lambda config: Toolset("sql", [named(config.url)]))


def alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file and no variable of whoever runs the tests."""
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "user"))
