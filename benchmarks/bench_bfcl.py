"""Single turns of the Berkeley Function-Calling Leaderboard, which no checkpoint of ours has seen.

    python benchmarks/bench_bfcl.py --data FOLDER [--checkpoint FOLDER]

FOLDER holds `bfcl/cases.jsonl` and `bfcl/tools.jsonl`, made of ShishirPatil/gorilla,
berkeley-function-call-leaderboard; they are not part of the project, and nothing of them is in the
corpus. Every row is judged as `python -m agentkit_engine.training evaluate --cases` judges it. The
leaderboard accepts any of several values where these rows tell one, so its own shares are others.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from json_lines import rows_of

from agentkit_engine.training.evaluation.casefile import case_of
from agentkit_engine.training.evaluation.cases import Case
from agentkit_engine.training.evaluation.command import Measured, told_ways
from agentkit_engine.training.evaluation.options import add_ways

# category -> calls of one turn, at most
CATEGORIES: Mapping[str, int] = {
    "simple_python": 1,
    "multiple": 1,
    "parallel": 8,
    "irrelevance": 1,
}


def read(data: Path, category: str, limit: int | None) -> list[Case]:
    """The first rows of a category, with their tools."""
    tools = {tool["id"]: tool for tool in rows_of(data / "bfcl" / "tools.jsonl")}
    rows = [row for row in rows_of(data / "bfcl" / "cases.jsonl") if row["category"] == category]
    return [
        case_of({**row, "tools": [tools[name] for name in row["tools"]]}, row["id"])
        for row in rows[:limit]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--checkpoint", default="embedded", help='"embedded", a folder or a hub id')
    parser.add_argument("--limit", type=int, help="rows of each category, at most")
    parser.add_argument(
        "--categories", nargs="+", choices=CATEGORIES, default=list(CATEGORIES), metavar="CATEGORY"
    )
    add_ways(parser)
    arguments = parser.parse_args()
    if arguments.data is None:
        print("nothing to measure: --data names the folder that holds bfcl/cases.jsonl")
        return
    asked = {name: read(arguments.data, name, arguments.limit) for name in arguments.categories}
    measured = Measured.begin(arguments)
    for name, rows in asked.items():
        measured.add_rows("bfcl", rows, most_calls=CATEGORIES[name], **told_ways(arguments))
    measured.engine.close()


if __name__ == "__main__":
    main()
