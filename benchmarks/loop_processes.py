"""Where each framework lives, and what its processes say: environments, workers, imports, weights.

Rivals get a virtual environment each, made once with plain pip and the version pinned here. Knows
processes and files; must not know what is made of the figures. Linux and macOS only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TextIO, cast

from loop_task import Asked, Told

__all__ = [
    "IMPORTS",
    "PINS",
    "Import",
    "Unavailable",
    "Weight",
    "Worker",
    "base_install",
    "environment",
    "import_cost",
    "imported",
    "weighed",
    "working",
]

PINS: Mapping[str, str] = {
    "pydantic-ai": "pydantic-ai-slim==2.68.0",
    "openai-agents": "openai-agents==0.24.0",
    "langgraph": "langgraph==1.2.22",
    "langchain": "langchain==1.4.7",
    "smolagents": "smolagents==1.26.0",
}
IMPORTS: Mapping[str, str] = {
    "agentkit": "from agentkit import Agent",
    "floor": "import anyio; from pydantic import TypeAdapter",
    "pydantic-ai": "from pydantic_ai import Agent",
    "openai-agents": "from agents import Agent",
    "langgraph": "from langgraph.prebuilt import create_react_agent",
    "langchain": "from langchain.agents import create_agent",
    "smolagents": "from smolagents import ToolCallingAgent",
}
HEAVY = ("torch", "numpy", "transformers", "openai", "rich")

_ROOT = Path(__file__).parent.parent
_FRAMEWORKS = Path(__file__).parent / "loop_frameworks.py"
_CHECKPOINTS = "agentkit_engine/checkpoints"
_INSTALLERS = ("pip", "setuptools")
_PATIENCE = 120.0  # seconds without an answer after which a framework is taken to hang


class Unavailable(Exception):
    """A framework can't be had or run here; the message says why."""


def environment(name: str, envs: Path) -> Path:
    """The Python of a rival's environment under `envs`, which is made where it isn't there.

    Raises:
        Unavailable: it can't be installed.
    """
    version = "{}.{}".format(*sys.version_info)
    home = envs / f"{PINS[name].replace('==', '-')}-python{version}"
    made = home / ".made"  # written last: without it the environment is half of one
    if not made.exists():
        _install(home, PINS[name])
        made.touch()
    return home / "bin" / "python"


@contextmanager
def base_install() -> Generator[Path]:
    """The Python of a fresh environment that holds our wheel and its base dependencies.

    Raises:
        Unavailable: it can't be built or installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        _told([*command, "--no-build-isolation", "--wheel-dir", folder, str(_ROOT)])
        (wheel,) = Path(folder).glob("*.whl")
        home = Path(folder) / "env"
        _install(home, str(wheel))
        yield home / "bin" / "python"


def _install(home: Path, what: str) -> None:
    venv.create(home, clear=True, with_pip=True)
    _told([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", what])


def _told(command: list[str]) -> str:
    """What a program prints.

    Raises:
        Unavailable: it failed; in the last words it said.
    """
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(_last_words(done.stderr, done.returncode))
    return done.stdout


def _last_words(said: str, status: int | None) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended with status {status} and said nothing"


@contextmanager
def working(name: str, python: Path) -> Generator[Worker]:
    """A framework in a process of its own, as long as the block lasts.

    Raises:
        Unavailable: it does not start.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            [str(python), str(_FRAMEWORKS), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Worker(process, errors)
        finally:
            process.kill()


class Worker:
    """A framework's process, which runs what it is asked to, one after another."""

    def __init__(self, process: subprocess.Popen[str], errors: TextIO) -> None:
        self._process = process
        self._errors = errors
        self.version: str = self._heard()["version"]

    def ask(self, asked: Asked) -> Told:
        """Run once.

        Raises:
            Unavailable: the framework failed, hangs or did something else than asked.
        """
        assert self._process.stdin is not None, "piped"
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._lost() from None
        return cast(Told, self._heard())

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None, "piped"
        if not wait([self._process.stdout.fileno()], _PATIENCE):
            self._process.kill()
            raise Unavailable(f"no answer within {_PATIENCE:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise self._lost()
        return cast("dict[str, Any]", json.loads(line))

    def _lost(self) -> Unavailable:
        status = self._process.wait()
        self._errors.seek(0)
        return Unavailable(_last_words(self._errors.read(), status))


@dataclass(frozen=True, slots=True)
class Import:
    """CPU milliseconds that an import took in a new process, and what came with it of `HEAVY`."""

    milliseconds: float
    heavy: tuple[str, ...]


_IMPORTING = """
import resource
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
began = spent()
{statement}
ended = spent()
import json, sys
print(json.dumps([(ended - began) * 1000, [name for name in {heavy!r} if name in sys.modules]]))
"""


def import_cost(name: str, python: Path) -> Import:
    """Import a framework in a new process.

    Raises:
        Unavailable: it can't be imported.
    """
    program = _IMPORTING.format(statement=IMPORTS[name], heavy=HEAVY)
    milliseconds, heavy = json.loads(_told([str(python), "-I", "-c", program]))
    return Import(milliseconds, tuple(heavy))


def imported(name: str, python: Path) -> list[tuple[str, float]]:
    """Top-level package -> its share of the import's time, its own modules counted, worst first."""
    command = [str(python), "-I", "-X", "importtime", "-c"]
    both = subprocess.run([*command, "pass"], capture_output=True, text=True, check=True)
    bare = _by_package(both.stderr)
    done = subprocess.run([*command, IMPORTS[name]], capture_output=True, text=True, check=True)
    found = _by_package(done.stderr)
    found = Counter({package: found[package] for package in found if package not in bare})
    return [(package, took / found.total()) for package, took in found.most_common()]


def _by_package(table: str) -> Counter[str]:
    """Microseconds of `-X importtime`, each module's without those of what it imports."""
    found = Counter[str]()
    for line in table.splitlines():
        own, _, module = line.removeprefix("import time:").split("|")
        if own.strip().isdigit():  # the first line is the table's head
            found[module.strip().partition(".")[0]] += int(own)
    return found


@dataclass(frozen=True, slots=True)
class Weight:
    """Bytes of a distribution's files: all, what pip compiled, and the embedded model."""

    total: int
    bytecode: int
    checkpoint: int


_WEIGHING = """
import json, os
from importlib.metadata import distributions
def weight(one, part):
    paths = (str(file.locate()) for file in one.files or () if part in str(file))
    return sum(os.stat(path).st_size for path in paths if os.path.isfile(path))
parts = ("", ".pyc", "agentkit_engine/checkpoints/")
found = {one.metadata["Name"]: [weight(one, part) for part in parts] for one in distributions()}
print(json.dumps(found))
"""


def weighed(python: Path) -> dict[str, Weight]:
    """Distribution -> its weight, of all in an environment but those that install others.

    Raises:
        Unavailable: its Python does not run.
    """
    found = json.loads(_told([str(python), "-I", "-c", _WEIGHING]))
    return {name: Weight(*sizes) for name, sizes in found.items() if name not in _INSTALLERS}
