"""How often the tool that a request needs is among those chosen for it.

    python benchmarks/bench_selection.py --data FOLDER

FOLDER holds `bfcl/cases.jsonl` and `bfcl/tools.jsonl`, made of ShishirPatil/gorilla,
berkeley-function-call-leaderboard, `mcp-tools/github-mcp-server.jsonl`, the tools of
github/github-mcp-server, and `tau-bench/tools.jsonl`, those of sierra-research/tau-bench; they are
not part of the project. A request counts at k where all the tools that it calls are among the first
k. Each is asked of 300 tools, the 117 of the server and 183 of the leaderboard, and of all tools
there are, which no agent should have. Of tools that share a name each pool has one.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import anyio
from json_lines import rows_of

from agentkit import ToolSpec, best_tools
from agentkit.selecting.words import Words, said_by

POOL = 300
PLACES = (1, 3, 8, 16)
SHOWN = 8
SEED = 0

Scores: TypeAlias = Callable[[str], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, and the tools that the leaderboard calls for it."""

    category: str
    text: str
    wanted: tuple[ToolSpec, ...]


@dataclass(slots=True)
class Pool:
    """Tools to choose from, by name, and the requests that are asked of them."""

    tools: dict[str, ToolSpec] = field(default_factory=dict[str, ToolSpec])
    requests: list[Request] = field(default_factory=list[Request])

    def takes(self, wanted: Sequence[ToolSpec], room: int) -> bool:
        """Whether the tools have room, and names that are free or theirs."""
        news = {tool.name for tool in wanted} - self.tools.keys()
        mine = all(self.tools.get(tool.name, tool) is tool for tool in wanted)
        return mine and len(self.tools) + len(news) <= room

    def add(self, tools: Sequence[ToolSpec]) -> None:
        """Take in the tools whose names are free."""
        for tool in tools:
            self.tools.setdefault(tool.name, tool)


@dataclass(slots=True)
class Recall:
    """What one way of choosing comes to, over any number of pools."""

    places: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    index_ms: list[float] = field(default_factory=list[float])
    query_ms: list[float] = field(default_factory=list[float])

    def measure(self, index: Callable[[Sequence[ToolSpec]], Scores], pool: Pool) -> None:
        """Ask all requests of a pool."""
        tools = list(pool.tools.values())
        started = perf_counter()
        score = index(tools)
        self.index_ms.append(1e3 * (perf_counter() - started))
        for request in pool.requests:
            started = perf_counter()
            scores = score(request.text)
            ranked = sorted(range(len(tools)), key=lambda place: -scores[place])
            self.query_ms.append(1e3 * (perf_counter() - started))
            names = [tools[place].name for place in ranked]
            last = max(names.index(tool.name) for tool in request.wanted)
            self.places.append((request.category, last))

    def at(self, most: int, category: str | None = None) -> float:
        """The share of requests of which all tools are among the first `most`."""
        found = [place < most for name, place in self.places if category in (None, name)]
        return sum(found) / len(found)


def by_names(tools: Sequence[ToolSpec]) -> Scores:
    """BM25 of the names alone."""
    return Words([replace(tool, description="", parameters={}) for tool in tools]).scores


def by_substrings(tools: Sequence[ToolSpec]) -> Scores:
    """How many words of the request, of four letters or more, occur in what a tool says."""
    texts = [said_by(tool).lower() for tool in tools]

    def scores(request: str) -> list[float]:
        words = {word for word in request.lower().split() if len(word) >= 4}
        return [float(sum(word in text for word in words)) for text in texts]

    return scores


WAYS: dict[str, Callable[[Sequence[ToolSpec]], Scores]] = {
    "BM25": lambda tools: Words(tools).scores,
    "BM25 of names": by_names,
    "substrings": by_substrings,
}


def read(data: Path) -> tuple[list[Request], list[ToolSpec], list[ToolSpec], list[ToolSpec]]:
    """The requests, and the tools of the leaderboard, of the server and of tau-bench."""
    rows = {row["id"]: _spec(row, "parameters") for row in rows_of(data / "bfcl" / "tools.jsonl")}
    requests = [
        Request(
            row["category"],
            " ".join(said["content"] for turn in row["question"] for said in turn),
            tuple({call["tool"]: rows[call["tool"]] for call in row["calls"]}.values()),
        )
        for row in rows_of(data / "bfcl" / "cases.jsonl")
        if row["calls"]
    ]
    server = [
        _spec(row, "inputSchema") for row in rows_of(data / "mcp-tools" / "github-mcp-server.jsonl")
    ]
    desk = [_spec(row, "parameters") for row in rows_of(data / "tau-bench" / "tools.jsonl")]
    return requests, list(rows.values()), server, desk


def _spec(row: Any, parameters: str) -> ToolSpec:
    return ToolSpec(row["name"], row["description"], row[parameters])


def pools_of(
    requests: Sequence[Request], tools: Sequence[ToolSpec], others: Sequence[ToolSpec]
) -> list[Pool]:
    """Pools of 300, each request in the first that has room for its tools."""
    draw = random.Random(SEED)
    pools: list[Pool] = []
    for request in draw.sample(requests, len(requests)):
        pool = next((one for one in pools if one.takes(request.wanted, POOL)), None)
        if pool is None:
            pool = Pool()
            pool.add(others)
            pools.append(pool)
        pool.add(request.wanted)
        pool.requests.append(request)
    for pool in pools:
        for tool in draw.sample(tools, len(tools)):
            if len(pool.tools) < POOL:
                pool.add([tool])
        shuffled = draw.sample(list(pool.tools.items()), len(pool.tools))  # a tie is no favour
        pool.tools = dict(shuffled)
    return pools


def told(title: str, pools: Sequence[Pool]) -> None:
    """Measure and print all ways over some pools."""
    count = sum(len(pool.requests) for pool in pools)
    sizes = {len(pool.tools) for pool in pools}
    print(f"\n{title}: {count} requests, {len(pools)} pools of {', '.join(map(str, sizes))} tools")
    print(f"{'':24}{''.join(f'   @{most:<4}' for most in PLACES)}  ms/query  ms/index")
    for name, index in WAYS.items():
        recall = Recall()
        for pool in pools:
            recall.measure(index, pool)
        _row(name, [recall.at(most) for most in PLACES], recall)
        if name == "BM25":
            for category in sorted({category for category, _ in recall.places}):
                _row(f"  {category}", [recall.at(most, category) for most in PLACES])


def _row(name: str, shares: Sequence[float], times: Recall | None = None) -> None:
    line = f"{name:24}{''.join(f'{share:7.3f} ' for share in shares)}"
    if times is not None:
        query, index = statistics.mean(times.query_ms), statistics.mean(times.index_ms)
        line += f"{query:10.2f}{index:10.1f}"
    print(line)


async def prompts(pools: Sequence[Pool]) -> None:
    """Print what the choice leaves of a prompt, and takes in a run."""
    before: list[int] = []
    after: list[int] = []
    taken: list[float] = []
    for pool in pools:
        choose = best_tools(SHOWN).index(list(pool.tools.values()))
        sizes = {name: len(json.dumps(vars_of(tool))) for name, tool in pool.tools.items()}
        for request in pool.requests:
            started = perf_counter()
            chosen = await choose(request.text)
            taken.append(1e3 * (perf_counter() - started))
            before.append(sum(sizes.values()))
            after.append(sum(sizes[name] for name in chosen))
    print(
        f"\nbest_tools({SHOWN}): {statistics.mean(before):,.0f} characters of JSON become "
        f"{statistics.mean(after):,.0f}, in {statistics.mean(taken):.2f} ms a run"
    )


def vars_of(tool: ToolSpec) -> dict[str, Any]:
    """A tool as JSON."""
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    if arguments.data is None:
        print("nothing to measure: --data names the folder that holds bfcl/cases.jsonl")
        return
    requests, tools, server, desk = read(arguments.data)
    pools = pools_of(requests, tools, server)
    told("300 tools", pools)
    everything = Pool(requests=list(requests))
    everything.add([*tools, *server, *desk])
    told("all tools", [everything])
    anyio.run(prompts, pools)


if __name__ == "__main__":
    main()
