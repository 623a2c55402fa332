"""The command line of what measures a checkpoint.

Imports nothing that is slow, so that other commands don't wait for it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agentkit_engine.training.evaluation.cases import SETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `evaluate`."""
    parser.add_argument(
        "checkpoint", nargs="?", default="embedded", help='"embedded", a folder or a hub id'
    )
    parser.add_argument(
        "--sets", nargs="*", choices=SETS, default=list(SETS), metavar="SET",
        help=f"tables to print, all by default: {', '.join(SETS)}; with no name none of them",
    )  # fmt: skip
    parser.add_argument(
        "--cases", nargs="+", type=Path, default=[], metavar="FILE",
        help="case files to run as well: JSON lines of question, tools and calls",
    )  # fmt: skip
    parser.add_argument("--count", type=int, default=1000, help="cases of a set")
    add_ways(parser)
    parser.add_argument(
        "--max-calls", type=int, default=None,
        help="calls of one turn in case files; by default 8 in a category where some row expects "
        "several, else 1",
    )  # fmt: skip


def add_ways(parser: argparse.ArgumentParser) -> None:
    """The ways of deciding, on what, and where to write what came of it."""
    parser.add_argument(
        "--verify", nargs="+", choices=["off", "rerank", "exact"], help="by default all"
    )
    parser.add_argument(
        "--layout", nargs="+", choices=["slots", "float"],
        help="by default slots, and float in the table of calls",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=_steps, default=1, help='of each denoising, at most; or "auto"'
    )
    parser.add_argument(
        "--batch",
        choices=["whole", "choice-first"],
        help="of the choice and all candidates; by default what is cheaper here",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto", help='"cpu", "cuda"; by default a GPU if any')
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")


def _steps(text: str) -> int | str:
    if text == "auto":
        return "auto"
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is neither a number from 1 nor "auto"')
    return int(text)
