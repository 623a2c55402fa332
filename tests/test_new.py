"""`agentkit new`: the project it makes is installed, tested, linted and type-checked as it is."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentkit.errors import AgentKitError
from agentkit.terminal.cli import main
from agentkit.terminal.new import make_project, package_name, project_name

NAME = "Parcel-Desk2"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(NAME, tmp_path_factory.mktemp("new") / "not" / "there")


@pytest.fixture(scope="module")
def site(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the project is installed into."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(target)]
    done = subprocess.run([*pip, *options, str(project)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def run(*command: str, cwd: Path, site: Path | None = None) -> str:
    """Run a program of this environment."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if site is not None:
        variables["PYTHONPATH"] = str(site)
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_in_it(project: Path) -> None:
    files = {path.relative_to(project).as_posix() for path in project.rglob("*.*")}
    assert files == {
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "parcel_desk2/__init__.py",
        "parcel_desk2/agent.py",
        "parcel_desk2/py.typed",
        "parcel_desk2/tools.py",
        "tests/test_agent.py",
        "tests/test_tools.py",
    }
    for path in project.rglob("*.*"):
        text = path.read_text("utf-8")
        assert "$package" not in text
        assert "$project" not in text
        assert text.endswith("\n") or not text


def test_it_passes_its_own_tests_once_installed(project: Path, site: Path, tmp_path: Path) -> None:
    # away from the project's folder, so that what is installed is what is tested
    options = ["-q", "--rootdir", str(project), "-c", str(project / "pyproject.toml")]
    out = run("pytest", *options, str(project / "tests"), cwd=tmp_path, site=site)
    assert " passed" in out
    assert "failed" not in out


def test_its_plugin_is_listed_once_installed(site: Path, tmp_path: Path) -> None:
    out = run("agentkit", "tools", cwd=tmp_path, site=site)
    assert f"{NAME}  postage(weight_grams, zone?)" in out.replace("   ", "  ")
    assert "track_parcel(number)" in out


def test_it_is_formatted_and_linted(project: Path) -> None:
    run("ruff", "format", "--check", ".", cwd=project)
    run("ruff", "check", ".", cwd=project)


def test_its_types_are_strict(project: Path) -> None:
    out = run("pyright", "--pythonpath", sys.executable, cwd=project)
    assert out.startswith("0 errors, 0 warnings")


def test_it_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "my-desk", "--into", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "my-desk/my_desk/agent.py" in out
    assert "agentkit chat my_desk.agent:agent --deps customer" in out


@pytest.mark.parametrize("name", ["desk", "my-desk", "my_desk", "Desk2"])
def test_names_of_packages_are_taken(name: str) -> None:
    assert project_name(name) == name
    assert package_name(name).isidentifier()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("", "'' is no name of a package; take letters, digits"),
        ("2desk", "as in 'parcel-desk'"),
        ("my desk", "is no name of a package"),
        ("my/desk", "is no name of a package"),
        ("../desk", "is no name of a package"),
        ("desk-", "is no name of a package"),
        ("my--desk", "is no name of a package"),
        ("schön", "is no name of a package"),
        ("class", "is a word of Python's; add another, as in 'class-desk'"),
        ("json", "is the name of another package; add a word, as in 'json-desk'"),
        ("agentkit", "is the name of another package"),
        ("tests", "is the name of another package"),
    ],
)
def test_other_names_are_refused_with_the_mend(
    name: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        project_name(name)
    with pytest.raises(SystemExit) as info:
        main(["new", name, "--into", str(tmp_path)])
    assert info.value.code == 2
    assert complaint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    with pytest.raises(AgentKitError, match="desk' is there already; choose another name"):
        make_project("desk", tmp_path)
    assert list((tmp_path / "desk").iterdir()) == []


def test_a_folder_that_can_t_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AgentKitError, match=r"can't be written: .*; choose another folder"):
        make_project("desk", tmp_path / "file")
