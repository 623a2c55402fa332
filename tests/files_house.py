"""What the tests of the file tools share: a folder with neighbours, and its tools at hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentkit import RunContext, Tool
from agentkit_tools.files import FilesConfig, files_toolset

SECRET = "the secret of the house next door"
posix = pytest.mark.skipif(os.name == "nt", reason="of POSIX systems")

Call = Callable[..., str]


class Hands:
    """The tools of a folder, called as a run calls them: by name, with one context."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.config = FilesConfig(root=root, **options)
        self.toolset = files_toolset(self.config)
        self.tools = {tool.name: tool for tool in self.toolset}
        self.context = RunContext[Any](deps=None)

    def __getattr__(self, name: str) -> Call:
        tool: Tool[..., Any] = self.tools[name]
        given = {} if tool.context is None else {tool.context: self.context}

        def called(**arguments: Any) -> str:
            return str(tool.function(**tool.bind(arguments), **given))

        return called


def furnished(folder: Path) -> Path:
    """A folder with neighbours: what lies beside it is not ours."""
    (folder / "secret.txt").write_text(SECRET)
    (folder / "outside").mkdir()
    (folder / "outside" / "secret.txt").write_text(SECRET)
    root = folder / "root"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a.py").write_text("one\ntwo\nthree\n")
    (root / "notes.txt").write_text("milk\nbread\n")
    return root
