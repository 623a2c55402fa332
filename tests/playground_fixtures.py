"""The playground over the embedded model as fixtures: one server and one browser a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browsing import Visit, browsing, visiting
from playwright.sync_api import Browser
from serving import Served, serving

from agentkit_engine import Engine


@pytest.fixture(scope="module")
def embedded() -> Iterator[Engine]:
    engine = Engine.load("embedded", device="cpu")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def playground(embedded: Engine) -> Iterator[Served]:
    with serving(embedded) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, playground: Served) -> Iterator[Visit]:
    """Where nothing is played, nothing is waited for."""
    allowed = ["clipboard-read", "clipboard-write"]
    with visiting(browser, playground.url, permissions=allowed, reduced_motion="reduce") as visit:
        yield visit
