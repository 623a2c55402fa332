"""What a user sees of types, as pyright and mypy see it: the files in `public_types` say it.

An error that is expected there is marked `# type: ignore[...]`, and a mark without an error is an
error itself.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SEEN = sorted(Path(__file__).with_name("public_types").glob("*.py"))
PACKAGES = ["agentkit", "engine"]
# Types that no user sees; reading them takes longer than all the rest.
UNSEEN = ["torch", "transformers", "numpy", "rich", "jinja2"]


@pytest.mark.parametrize("path", SEEN, ids=lambda path: path.stem)
def test_a_mark_is_made_for_every_error_there_is(path: Path) -> None:
    assert "assert_type(" in path.read_text()
    assert "# type: ignore[" in path.read_text()


def test_pyright_agrees() -> None:
    project = ROOT / "pyproject.toml"
    assert "No source files found" not in run("pyright", "--project", str(project), *map(str, SEEN))


def test_mypy_agrees(tmp_path: Path) -> None:
    settings = tmp_path / "mypy.ini"
    skipped = ",".join(f"mypy-{name}.*" for name in UNSEEN)
    settings.write_text(
        "[mypy]\nstrict = true\npython_version = 3.11\nfollow_imports = silent\n"
        f"mypy_path = {','.join(str(ROOT / package) for package in PACKAGES)}\n"
        f"explicit_package_bases = true\n[{skipped}]\nfollow_imports = skip\n"
    )
    cache = ROOT / ".mypy_cache" / "public_types"
    told = run("mypy", "--config-file", str(settings), "--cache-dir", str(cache), *map(str, SEEN))
    assert f"no issues found in {len(SEEN)} source files" in told


def run(checker: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", checker, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
