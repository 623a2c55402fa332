"""The command `agentkit new`: a starter project with an agent, a tool plugin and their tests.

Knows the files under `starter` and what a package may be called; must not know what they say.
"""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from agentkit.errors import AgentKitError

_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9]|[-_](?=[A-Za-z0-9]))*")
# What its own imports would no longer find if the package were called like this.
_TAKEN = {"agentkit", "agentkit_engine", "agentkit_tools", "pytest", "test", "tests"}
_SUFFIX = ".tmpl"
_PACKAGE = "package"
_HIDDEN = {"gitignore": ".gitignore"}  # shipped under a name that no tool acts upon here


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `agentkit new` takes."""
    parser.add_argument("name", metavar="NAME", type=project_name, help="of the project")
    parser.add_argument(
        "--into",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="the folder in which the project's folder is made (default: this one)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Make the project and say how to go on."""
    name: str = arguments.name
    folder = make_project(name, arguments.into)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        print(f"  {path.relative_to(folder.parent).as_posix()}")
    print(
        f"Go on with:\n  cd {folder}\n  pip install -e '.[dev]'\n  pytest\n"
        f"  agentkit chat {package_name(name)}.agent:agent --deps customer"
    )
    return 0


def make_project(name: str, into: Path) -> Path:
    """Write the project into a new folder of its name and return that.

    Raises:
        AgentKitError: there is something of that name, or the files can't be written.
    """
    folder = into / name
    names = {"project": name, "package": package_name(name)}
    try:
        folder.mkdir(parents=True)
        _write(files("agentkit.terminal") / "starter", folder, names)
    except FileExistsError as error:
        raise AgentKitError(
            f"{str(folder)!r} is there already; choose another name, or another folder with --into"
        ) from error
    except OSError as error:
        raise AgentKitError(
            f"{str(folder)!r} can't be written: {error.strerror}; choose another folder with --into"
        ) from error
    return folder


def project_name(text: str) -> str:
    """A name that a project and, with `_` for `-`, its package may have.

    Raises:
        argparse.ArgumentTypeError: it is none; says why and the mend.
    """
    package = package_name(text)
    if not _NAME.fullmatch(text):
        why = "is no name of a package; take letters, digits and single '-', as in 'parcel-desk'"
    elif keyword.iskeyword(package) or keyword.issoftkeyword(package):
        why = f"is a word of Python's; add another, as in '{text}-desk'"
    elif package in _TAKEN or package in sys.stdlib_module_names:
        why = f"is the name of another package; add a word, as in '{text}-desk'"
    else:
        return text
    raise argparse.ArgumentTypeError(f"{text!r} {why}")


def package_name(project: str) -> str:
    """What the project's package is called: `parcel_desk` of `Parcel-Desk`."""
    return project.lower().replace("-", "_")


def _write(source: Traversable, target: Path, names: dict[str, str]) -> None:
    """Copy the templates of a folder, with the names filled in."""
    for item in source.iterdir():
        if item.is_dir():
            folder = target / (names["package"] if item.name == _PACKAGE else item.name)
            folder.mkdir()
            _write(item, folder, names)
        elif item.name.endswith(_SUFFIX):
            name = item.name.removesuffix(_SUFFIX)
            text = Template(item.read_text("utf-8")).substitute(names)
            (target / _HIDDEN.get(name, name)).write_text(text, "utf-8")
