"""The example of a tool plugin: built, installed and used as anybody's would be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "tool_plugin"


@dataclass(frozen=True, slots=True)
class Installed:
    """A folder that holds the installed example, and one to work in."""

    site: Path
    home: Path

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a module of Python in a process that finds the example."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AGENTKIT_")}
        environment |= {
            "PYTHONPATH": str(self.site),
            "XDG_CONFIG_HOME": str(self.home / "user"),
            "COLUMNS": "120",
            **variables,
        }
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.home,
            env=environment,
            capture_output=True,
            text=True,
        )

    def json(self, *command: str, **variables: str) -> dict[str, Any]:
        done = self.run("agentkit", "tools", *command, "--json", **variables)
        assert done.returncode == 0, done.stderr + done.stdout
        value: dict[str, Any] = json.loads(done.stdout)
        return value


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """What pip builds of the example's files, with nothing fetched."""
    home = tmp_path_factory.mktemp("example")
    leave_out = shutil.ignore_patterns("__pycache__", ".*", "dist")
    shutil.copytree(EXAMPLE, home / "source", ignore=leave_out)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps"]
    target = ["--no-build-isolation", "--target", str(home / "site"), str(home / "source")]
    subprocess.run([*pip, *target], check=True, capture_output=True)
    (home / "work").mkdir()
    return Installed(home / "site", home / "work")


def test_it_is_found_by_its_entry_point(installed: Installed) -> None:
    plugins = {one["name"]: one for one in installed.json("list")["plugins"]}
    found = plugins["daylight"]
    assert (found["state"], found["tools"]) == ("ready", ["sun_times"])
    assert found["source"] == "agentkit-daylight 0.1.0"


def test_what_it_takes_is_installed_with_it(installed: Installed) -> None:
    code = "import agentkit_daylight as one; print(one.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(installed.site)},
        capture_output=True,
        text=True,
        check=True,
    )
    package = Path(done.stdout.strip()).parent
    assert package == installed.site / "agentkit_daylight"
    assert {"plugin.py", "sun.py", "py.typed"} <= {path.name for path in package.iterdir()}


def test_its_self_test_passes(installed: Installed) -> None:
    [checked] = installed.json("check", "daylight")["checks"]
    assert (checked["outcome"], checked["problem"]) == ("passed", "")


def test_its_tool_is_called_as_a_run_does(installed: Installed) -> None:
    day = '{"day": "2024-06-21", "city": "Tromsø"}'
    called = installed.json("call", "sun_times", day)
    assert called["result"] == "In Tromsø the sun never sets on 2024-06-21."


def test_the_file_that_its_readme_shows_configures_it(installed: Installed) -> None:
    readme = (EXAMPLE / "README.md").read_text("utf-8")
    shown = readme.split("```toml\n")[1].split("```")[0]
    file = installed.home / "agentkit.toml"
    file.write_text(shown, "utf-8")
    try:
        said = installed.json("call", "sun_times", '{"day": "2024-06-21"}')["result"]
        assert said.startswith("In Bergen on 2024-06-21 the sun rises at 04:")
        found = installed.json("show", "daylight", AGENTKIT_DAYLIGHT_HOME="Tokyo")["settings"]
        assert [one["origin"] for one in found] == [
            "AGENTKIT_DAYLIGHT_HOME",
            f"{file} [tools.daylight]",
        ]
    finally:
        file.unlink()


def test_its_own_tests_pass(installed: Installed) -> None:
    source = str(installed.site.parent / "source")
    command = ["pytest", "-q", "-p", "no:cacheprovider", "--rootdir", source, f"{source}/tests"]
    done = installed.run(*command)
    assert done.returncode == 0, done.stdout
