"""Lines of code that are missing, filled in over HTTP key by key, as an editor asks for them.

    python benchmarks/bench_infilling.py --data FOLDER [--checkpoint FOLDER] [--limit N]

FOLDER holds `human-eval-infilling/HumanEval-SingleLineInfilling.jsonl.gz` of openai's
human-eval-infilling, which is not part of the project. For each line the hole is asked for as it is
(exact: it is the missing line; parses: the file with it is Python), and then after each of the
first keys of the line, as they are typed: what a key takes, and how many keys made the encoder run.
No program is run. The embedded model was trained on tool calls and knows no code.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import statistics
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import torch
import uvicorn

from agentkit_engine import Engine
from agentkit_engine.server.app import make_app

FILE = Path("human-eval-infilling") / "HumanEval-SingleLineInfilling.jsonl.gz"
TOKENS = 32


@dataclass
class Measured:
    """What was found: per line, and milliseconds and encoder forwards per key."""

    exact: int = 0
    parses: int = 0
    lines: int = 0
    milliseconds: list[float] = field(default_factory=list[float])
    encoding: int = 0


@contextmanager
def served(engine: Engine) -> Generator[httpx2.Client]:
    """The engine behind HTTP, in a thread: so its statistics can be read."""
    server = uvicorn.Server(uvicorn.Config(make_app(engine), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.001)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def filled(client: httpx2.Client, row: Any, typed: str, steps: int) -> str:
    """The rest of a line of which something is typed already."""
    body = {
        "input_prefix": row["prompt"],
        "prompt": typed,
        "input_suffix": row["suffix"],
        "n_predict": TOKENS,
        "steps": steps,
        "stop": ["\n"],
    }
    answer = client.post("/infill", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["content"])


def measure(
    client: httpx2.Client, engine: Engine, row: Any, keys: int, steps: int, found: Measured
) -> None:
    """One line: whole, then key by key."""
    missing = row["canonical_solution"].rstrip("\n")
    line = filled(client, row, "", steps)
    found.lines += 1
    found.exact += line.rstrip() == missing.rstrip()
    found.parses += _parses(row["prompt"] + line + "\n" + row["suffix"])
    for typed in range(1, min(keys, len(missing)) + 1):
        before = engine.statistics.works
        began = time.perf_counter()
        filled(client, row, missing[:typed], steps)
        found.milliseconds.append(1000 * (time.perf_counter() - began))
        after = engine.statistics.works
        encoded = after.forwards - after.denoises > before.forwards - before.denoises
        found.encoding += encoded


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--checkpoint", default="embedded", help='"embedded", a folder or a hub id')
    parser.add_argument("--limit", type=int, default=50, help="lines")
    parser.add_argument("--keys", type=int, default=12, help="of each line, typed one by one")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.data is None:
        print(f"nothing to measure: --data names the folder that holds {FILE}")
        return
    torch.set_num_threads(arguments.threads)
    with gzip.open(arguments.data / FILE, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, arguments.limit)]
    engine = Engine.load(arguments.checkpoint)
    with served(engine) as client:
        for steps in arguments.steps:
            found = Measured()
            for row in rows:
                measure(client, engine, row, arguments.keys, steps, found)
            spent = sorted(found.milliseconds)
            print(
                f"steps {steps}: exact {found.exact / found.lines:.0%}, "
                f"parses {found.parses / found.lines:.0%} of {found.lines} lines; "
                f"a key {statistics.median(spent):.1f} ms (95 %: "
                f"{spent[int(0.95 * (len(spent) - 1))]:.1f}), "
                f"the encoder runs for {found.encoding / len(spent):.0%} of {len(spent)}"
            )
    engine.close()


if __name__ == "__main__":
    main()
