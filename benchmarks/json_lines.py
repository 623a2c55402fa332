"""The external test material: files of JSON, a row a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def rows_of(path: Path) -> Iterator[Any]:
    """The rows of one file."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)
