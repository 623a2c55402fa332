"""What a user sees of the types of plugins. Read by type checkers, never run."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import assert_type

from pydantic import BaseModel

from agentkit import InstalledPlugin, Plugin, Toolset, discover, load_toolsets, open_tools


class Settings(BaseModel):
    rows: int = 1


class Others(BaseModel):
    name: str = ""


def make(settings: Settings) -> Toolset:
    return Toolset("rows", [])


@asynccontextmanager
async def connect(settings: Settings) -> AsyncGenerator[Toolset]:
    yield make(settings)


def make_plain() -> Toolset:
    return Toolset("plain", [])


async def check(toolset: Toolset) -> None:
    assert not len(toolset)


assert_type(Plugin("rows", config=Settings, open=make, check=check), Plugin[Settings])
assert_type(Plugin("rows", config=Settings, open=connect), Plugin[Settings])
assert_type(Plugin("plain", open=make_plain), Plugin[None])
Plugin("rows", config=Others, open=make)  # type: ignore[arg-type]
Plugin("rows", open=make)  # type: ignore[arg-type]
assert_type(discover(), list[InstalledPlugin])
assert_type(load_toolsets(["rows", Plugin("plain", open=make_plain)]), list[Toolset])


async def main() -> None:
    async with open_tools(["rows"], config={"rows": {"rows": 3}}) as toolsets:
        assert_type(toolsets, list[Toolset])
    async with open_tools(config={"rows": Settings()}) as toolsets:
        assert_type(toolsets, list[Toolset])
