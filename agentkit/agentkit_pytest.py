"""agentkit's pytest plugin: the fixtures `scripted` and `replay`, and `--agentkit-record`.

A module by itself, beside the package: pytest imports it in every session of an environment, so
that it must not import agentkit before a test asks for one of its fixtures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from agentkit.backend import Backend
    from agentkit.testing import ScriptedBackend, ScriptItem

RECORD = "--agentkit-record"


class Scripted(Protocol):
    """What the fixture `scripted` is."""

    def __call__(self, script: Iterable[ScriptItem], **options: Any) -> ScriptedBackend:
        """A backend that follows a script; options are those of `ScriptedBackend`."""
        ...


class Replay(Protocol):
    """What the fixture `replay` is."""

    def __call__(self, backend: str | Callable[[], Backend] = "embedded") -> Backend:
        """A backend that plays back what `backend` decided when it was recorded.

        backend: the name of one, or a function that makes it; it is made to record, and not else.
        """
        ...


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("agentkit")
    group.addoption(
        RECORD,
        action="store_true",
        help="have the `replay` fixture ask real models, and record what they decide",
    )


@pytest.fixture
def scripted(request: pytest.FixtureRequest) -> Iterator[Scripted]:
    """Makes backends that follow scripts; a script that was not used up fails the test."""
    from agentkit.testing import ScriptedBackend

    made: list[ScriptedBackend] = []

    def make(script: Iterable[ScriptItem], **options: Any) -> ScriptedBackend:
        made.append(ScriptedBackend(script, **options))
        return made[-1]

    failed = request.session.testsfailed
    yield make
    if request.session.testsfailed == failed:  # else that tells why the script stopped
        for backend in made:
            backend.assert_used_up()


@pytest.fixture
def replay(request: pytest.FixtureRequest) -> Iterator[Replay]:
    """Plays back what models decided, from `recordings/` beside the test's file.

    With `--agentkit-record` the models are asked, and what they decide is written there.
    """
    import anyio

    from agentkit.backends import resolve_backend
    from agentkit.testing import RecordingBackend, ReplayBackend

    paths = _paths(request.node)
    recorded: list[RecordingBackend] = []
    owned: list[Backend] = []

    def play_back(backend: str | Callable[[], Backend] = "embedded") -> Backend:
        return ReplayBackend(next(paths), anew=f"run pytest with {RECORD}")

    def record(backend: str | Callable[[], Backend] = "embedded") -> Backend:
        real = resolve_backend(backend) if isinstance(backend, str) else backend()
        if not isinstance(backend, str):  # a named one is the process's
            owned.append(real)
        recorded.append(RecordingBackend(real, next(paths)))
        return recorded[-1]

    yield record if request.config.getoption(RECORD) else play_back
    for one in recorded:
        one.save()
    for backend in owned:
        anyio.run(backend.aclose)


def _paths(node: pytest.Item) -> Iterator[Path]:
    """`recordings/<file>/<test>.jsonl`; of the further backends of a test with a number."""
    test = node.nodeid.partition("::")[2]
    name = re.sub(r"[^\w\[\]=,+-]+", ".", test)
    if name != test.replace("::", "."):  # so that no two tests share a file
        name += f".{sha256(test.encode()).hexdigest()[:6]}"
    folder = node.path.parent / "recordings" / node.path.stem
    yield folder / f"{name}.jsonl"
    for number in count(2):
        yield folder / f"{name}.{number}.jsonl"
