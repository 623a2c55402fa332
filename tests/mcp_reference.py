"""The protocol's reference servers and its inspector: pinned, and installed once into a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from platformdirs import user_cache_path

SERVERS = (
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-filesystem@2026.8.31",
)
INSPECTOR = ("@modelcontextprotocol/inspector@0.15.0",)


def reference_server(name: str) -> str:
    """The command of a reference server; skips the test where there is no Node.js."""
    return _command(f"mcp-server-{name}", SERVERS)


def inspector() -> str:
    """The command of the protocol's inspector, likewise."""
    return _command("mcp-inspector", INSPECTOR)


def _command(name: str, packages: Sequence[str]) -> str:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("the reference programs of MCP need Node.js with npm, and it is not here")
    return str(_installed(npm, packages) / "node_modules" / ".bin" / name)


def _installed(npm: str, packages: Sequence[str]) -> Path:
    key = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    folder = user_cache_path("agentkit-diffusion") / "tests" / f"mcp-{key}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent))
    command = [npm, "install", "--prefix", str(fresh), "--no-audit", "--no-fund", *packages]
    subprocess.run(command, check=True, capture_output=True)
    try:
        os.rename(fresh, folder)
    except OSError:  # another run was faster
        shutil.rmtree(fresh)
    return folder
