"""What a user installs: a fresh wheel in an environment that holds nothing else.

The wheel is built from the source distribution, as an index would. Its environment holds the
dependencies that the wheel itself declares, linked from this one so that no network is needed;
torch and the rest of the `engine` extra are lent only where a test says so.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
CHECKPOINT = "agentkit_engine/checkpoints/embedded/"
SITE_PACKAGES = sysconfig.get_path("purelib")


@dataclass(frozen=True, slots=True)
class Installed:
    """A virtual environment with the wheel in it, and a folder to run in."""

    wheel: Path
    home: Path

    def run(self, *command: str, lend: str | None = None) -> str:
        """Run one of the environment's programs; `lend` is one more folder to import from."""
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL"))}
        if lend is not None:
            variables["PYTHONPATH"] = lend
        variables["AGENTKIT_TODO_PATH"] = str(self.home / "todo.sqlite3")
        done = subprocess.run(
            [self._program(command[0]), *command[1:]],
            cwd=self.home,
            env=variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def python(self, code: str, *, lend: str | None = None) -> str:
        return self.run("python", "-c", code, lend=lend)

    def _program(self, name: str) -> str:
        return str(self.home / "env" / ("Scripts" if os.name == "nt" else "bin") / name)


def build(kind: str, source: Path, target: Path) -> Path:
    """Build a distribution without a network; returns the file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = target.iterdir()
    return built


def requirements(lines: Iterable[str]) -> Iterator[Requirement]:
    """The requirements that hold here when no extra is asked for."""
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def closure(lines: Iterable[str]) -> set[str]:
    """The distributions that these requirements bring in, their own requirements included."""
    found: set[str] = set()
    waiting = list(requirements(lines))
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        found.add(name)
        installed = distribution(name)
        assert requirement.specifier.contains(installed.version, prereleases=True)
        waiting += requirements(installed.requires or [])
    return found


def link_distribution(name: str, target: Path) -> None:
    """Make an installed distribution importable from `target` as well."""
    for file in distribution(name).files or []:
        top = file.parts[0]
        if top not in ("..", "__pycache__") and not (target / top).exists():
            (target / top).symlink_to(Path(str(file.locate())).parents[len(file.parts) - 1] / top)


@pytest.fixture(scope="module")
def declared() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    home = tmp_path_factory.mktemp("sources")
    with tarfile.open(build("sdist", ROOT, home / "built")) as archive:
        # Early releases of Python 3.11 know no filters; later ones warn without.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        archive.extractall(home)
    (folder,) = home.glob("agentkit_diffusion-*")
    return folder


@pytest.fixture(scope="module")
def installed(
    sources: Path, declared: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    home = tmp_path_factory.mktemp("installed")
    wheel = build("wheel", sources, home / "built")
    context = venv.EnvBuilder(symlinks=os.name != "nt")
    context.create(home / "env")
    found = Installed(wheel, home)
    site = Path(found.python("import sysconfig; print(sysconfig.get_path('purelib'))"))
    for name in sorted(closure(declared)):
        link_distribution(name, site)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "env"), "install"]
    subprocess.run(
        [*pip, "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True, cwd=home
    )
    return found


def test_the_source_distribution_can_be_worked_with(sources: Path) -> None:
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "constraints.txt", "Makefile", "tests"):
        assert (sources / name).exists()
    assert not list(sources.rglob("*.pyc"))


def test_the_wheel_holds_the_packages_and_their_data(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    (info,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {*("agentkit", "agentkit_engine", "agentkit_pytest.py", "agentkit_tools"), info}
    assert f"{info}/licenses/LICENSE" in names
    for package in ("agentkit", "agentkit_engine", "agentkit_tools"):
        assert f"{package}/py.typed" in names
    assert {CHECKPOINT + "config.json", CHECKPOINT + "model.safetensors"} <= set(names)
    assert "agentkit/terminal/starter/pyproject.toml.tmpl" in names
    assert [name for name in names if "__pycache__" in name or ".mypy_cache" in name] == []


def test_the_base_install_imports_the_loop_and_no_torch(installed: Installed) -> None:
    told = installed.python(
        "import sys, agentkit, importlib.util as util\n"
        "assert util.find_spec('torch') is None\n"
        "assert not {'torch', 'numpy', 'transformers', 'rich'} & set(sys.modules)\n"
        "print(agentkit.__file__)"
    )
    assert (installed.home / "env") in Path(told).parents


def test_the_checkpoint_is_found_as_package_data(installed: Installed) -> None:
    told = installed.python(
        "from importlib.resources import files\n"
        "weights = files('agentkit_engine') / 'checkpoints' / 'embedded' / 'model.safetensors'\n"
        "print(weights.is_file(), len(weights.read_bytes()))"
    )
    found, size = told.split()
    assert found == "True"
    assert 0 < int(size) < 60 * 2**20


def test_the_tool_plugins_are_discovered(installed: Installed) -> None:
    told = installed.run("agentkit", "tools", lend=SITE_PACKAGES)
    for tool in ("calculator(", "current_time(", "days_between(", "todo_add(", "todo_done("):
        assert tool in told


def test_the_base_install_says_what_the_embedded_model_needs(installed: Installed) -> None:
    told = installed.python(
        "from agentkit.terminal.cli import main\n"
        "import contextlib, io\n"
        "with contextlib.redirect_stderr(io.StringIO()) as err: status = main(['run', 'Hi'])\n"
        "print(status, err.getvalue())"
    )
    assert told.startswith("1 ")
    assert "agentkit-diffusion[engine]" in told


def test_the_embedded_checkpoint_answers_where_the_engine_s_needs_are_met(
    installed: Installed,
) -> None:
    told = installed.python(
        "import agentkit_engine\n"
        "from agentkit_engine import Engine, Template\n"
        "engine = Engine.load('embedded', device='cpu')\n"
        "print(agentkit_engine.__file__)",
        lend=SITE_PACKAGES,
    )
    assert (installed.home / "env") in Path(told).parents
    told = installed.run("agentkit", "run", "Add buy milk to my list", "--json", lend=SITE_PACKAGES)
    assert json.loads(told)["status"] == "answered"
