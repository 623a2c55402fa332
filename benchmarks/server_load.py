"""A server under a mixed load: nothing may fail that should not, and its memory must stay flat.

Requests of every API, some of them malformed on purpose and some given up by their client midway.
Every answer is checked: a status that was expected, arguments and structured answers that satisfy
their schemas, streams that end as they should. A server that is full may say so, if it says when to
come again; that is counted apart. Beside the latencies it prints the memory that the server's
process holds, sampled through the run; encoded contexts have a small budget there, so that they
fill it soon; `--requests 10000` is the mixed load of the goals,
`--seconds 600` the soak.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
import httpx2
import jsonschema
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from server_process import ServerProcess, server_process

TOOLS: list[dict[str, Any]] = [
    {
        "name": "set_lights",
        "description": "Dim or brighten the lights of a room.",
        "parameters": {
            "type": "object",
            "properties": {
                "room": {"type": "string"},
                "level": {"type": "integer", "minimum": 0, "maximum": 100},
            },
            "required": ["room", "level"],
        },
    },
    {
        "name": "book_table",
        "description": "Book a table at a restaurant.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "people": {"type": "integer", "minimum": 1},
                "outside": {"type": "boolean"},
            },
            "required": ["city", "people"],
        },
    },
]
PARAMETERS = {tool["name"]: tool["parameters"] for tool in TOOLS}
PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WORDS = ("Lisbon", "Oslo", "Quito", "kitchen", "office", "attic", "seven", "12", "tonight", "dim")
MALFORMED: list[tuple[str, Any]] = [
    ("/v1/chat/completions", b'{"messages": [{"role": "user", "content": "hel'),
    ("/v1/chat/completions", {"messages": "hello"}),
    ("/v1/chat/completions", {"messages": [{"role": "nobody", "content": "x"}]}),
    ("/v1/completions", {"prompt": "x", "max_tokens": -1}),
    ("/v1/infill", {"schema": {"type": "string", "minLength": "many"}}),
    ("/v1/messages", {"model": "default", "messages": []}),
    ("/v1/responses", b"\xff\xfe{}"),
]

Ask: TypeAlias = Callable[[httpx2.AsyncClient, random.Random], Awaitable[str]]


class Full(Exception):
    """The server has no place for a request now.

    Attributes:
        seconds: after which it may have one.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(slots=True)
class Tally:
    """What came of the requests so far."""

    counts: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])
    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    memory: list[float] = field(default_factory=list[float])


def prompt(chance: random.Random) -> str:
    """A request of a few words, seldom the same."""
    return " ".join(chance.choices(WORDS, k=chance.randint(3, 12)))


def _declared() -> list[dict[str, Any]]:
    return [{"type": "function", "function": tool} for tool in TOOLS]


async def _posted(client: httpx2.AsyncClient, path: str, body: Any) -> Any:
    answer = await client.post(path, json=body)
    _require_room(answer)
    _require(answer.status_code < 300, f"{path}: {answer.status_code} {answer.text[:300]}")
    return answer.json()


def _require_room(answer: httpx2.Response) -> None:
    """
    Raises:
        Full: the server has no place for it, as OpenAI's API tells it or as Anthropic's does.
    """
    if answer.status_code in (429, 529):
        again = answer.headers.get("retry-after", "")
        _require(again.isdigit(), f"{answer.url}: {answer.status_code}, and not when to come again")
        raise Full(float(again))


def _require(right: bool, why: str) -> None:
    if not right:
        raise AssertionError(why)


async def chat(client: httpx2.AsyncClient, chance: random.Random) -> str:
    """A chat completion with tools; its calls satisfy their schemas."""
    messages = [{"role": "user", "content": prompt(chance)}]
    choice = chance.choice(["auto", "required"])
    body = {"model": "default", "messages": messages, "tools": _declared(), "tool_choice": choice}
    told = await _posted(client, "/v1/chat/completions", body)
    calls: list[Any] = told["choices"][0]["message"].get("tool_calls") or []
    for call in calls:
        about = call["function"]
        jsonschema.validate(json.loads(about["arguments"]), PARAMETERS[about["name"]])
    return "chat"


async def streamed(client: httpx2.AsyncClient, chance: random.Random) -> str:
    """A streamed one by a schema; what was streamed satisfies it."""
    shape = {"type": "json_schema", "json_schema": {"name": "place", "schema": PLACE}}
    messages = [{"role": "user", "content": prompt(chance)}]
    body = {"model": "default", "messages": messages, "response_format": shape, "stream": True}
    said, ended = "", False
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        _require_room(answer)
        _require(answer.status_code == 200, f"a stream began with {answer.status_code}")
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                ended = True
            elif line.startswith("data: "):
                for one in json.loads(line[6:])["choices"]:
                    said += one["delta"].get("content") or ""
    _require(ended, "a stream ended without its last line")
    jsonschema.validate(json.loads(said), PLACE)
    return "chat, streamed"


async def responses(client: httpx2.AsyncClient, chance: random.Random) -> str:
    """The Responses API, by a schema."""
    shape = {"format": {"type": "json_schema", "name": "place", "schema": PLACE}}
    body = {"model": "default", "input": prompt(chance), "text": shape, "store": False}
    told = await _posted(client, "/v1/responses", body)
    text = told["output"][-1]["content"][0]["text"]
    jsonschema.validate(json.loads(text), PLACE)
    return "responses"


async def messages(client: httpx2.AsyncClient, chance: random.Random) -> str:
    """The Messages API, with a tool that must be called."""
    tools = [
        {
            "name": tool["name"],
            "description": tool["description"],
            "input_schema": tool["parameters"],
        }
        for tool in TOOLS
    ]
    body = {
        "model": "default",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": prompt(chance)}],
        "tools": tools,
        "tool_choice": {"type": "any"},
    }
    told = await _posted(client, "/v1/messages", body)
    for block in told["content"]:
        if block["type"] == "tool_use":
            jsonschema.validate(block["input"], PARAMETERS[block["name"]])
    _require(told["stop_reason"] == "tool_use", "no tool was called that had to be")
    return "messages"


async def infilled(client: httpx2.AsyncClient, chance: random.Random) -> str:
    """Text between two others, as an editor asks for it."""
    before = f"def total(items):\n    # {prompt(chance)}\n    count = "
    body = {"prompt": before, "suffix": "\n    return count\n", "max_tokens": 8, "model": "default"}
    told = await _posted(client, "/v1/completions", body)
    _require(isinstance(told["choices"][0]["text"], str), "a completion holds no text")
    return "completions"


async def session(client: httpx2.AsyncClient, chance: random.Random) -> str:
    """A session: made, decided in twice, forked, closed."""
    made = await _posted(client, "/v1/sessions", {"tools": TOOLS})
    path = f"/v1/sessions/{made['id']}"
    for _ in range(2):
        said = {"messages": [{"role": "user", "content": prompt(chance)}]}
        told = await _posted(client, f"{path}/decide", said)
        for call in told["calls"]:
            jsonschema.validate(call["arguments"], PARAMETERS[call["tool"]])
    fork = await _posted(client, f"{path}/fork", {})
    for id in (made["id"], fork["id"]):
        gone = await client.delete(f"/v1/sessions/{id}")
        _require(gone.status_code == 204, f"closing a session: {gone.status_code}")
    return "session"


async def native(client: httpx2.AsyncClient, chance: random.Random) -> str:
    """A schema, filled natively."""
    context = {"messages": [{"role": "user", "content": prompt(chance)}]}
    told = await _posted(client, "/v1/infill", {"schema": PLACE, **context})
    jsonschema.validate(told["value"], PLACE)
    return "infill"


async def malformed(client: httpx2.AsyncClient, chance: random.Random) -> str:
    """What is refused, and says why."""
    path, body = chance.choice(MALFORMED)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    answer = await client.post(path, content=content, headers=headers)
    _require_room(answer)
    _require(answer.status_code in (400, 404, 422), f"{path}: {answer.status_code} {answer.text}")
    _require("error" in answer.json(), f"{path}: no error in {answer.text[:200]}")
    return "malformed"


ASKS: tuple[Ask, ...] = (chat, streamed, responses, messages, infilled, session, native)


async def given_up(client: httpx2.AsyncClient, chance: random.Random) -> str:
    """Any of them, its client gone midway."""
    with anyio.move_on_after(chance.uniform(0.001, 0.15)):
        await chance.choice(ASKS)(client, chance)
        return "given up too late"
    return "given up"


def drawn(chance: random.Random) -> Ask:
    """One request in ten is given up, one in twenty is malformed."""
    share = chance.random()
    if share < 0.10:
        return given_up
    return malformed if share < 0.15 else chance.choice(ASKS)


async def load(
    server: ServerProcess, *, requests: int, seconds: float, clients: int, seed: int
) -> Tally:
    """So many requests, or for so long, from some clients at once."""
    tally, began = Tally(), time.perf_counter()
    left = iter(range(requests)) if requests else iter(int, 1)
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("requests", total=requests or None)

        async def one(number: int) -> None:
            chance = random.Random(seed * 1000 + number)
            async with httpx2.AsyncClient(base_url=server.url, timeout=300) as client:
                for _ in left:
                    if seconds and time.perf_counter() - began > seconds:
                        return
                    await _tallied(client, chance, tally)
                    progress.advance(bar)

        async with anyio.create_task_group() as group:
            group.start_soon(_sampled, server, tally)
            async with anyio.create_task_group() as asking:
                for number in range(clients):
                    asking.start_soon(one, number)
            group.cancel_scope.cancel()
    return tally


async def _tallied(client: httpx2.AsyncClient, chance: random.Random, tally: Tally) -> None:
    ask, began = drawn(chance), time.perf_counter()
    try:
        kind = await ask(client, chance)
    except Full as full:
        kind = "turned away"
        await anyio.sleep(full.seconds)
    except Exception as error:
        tally.wrong.append(f"{ask.__name__}: {type(error).__name__}: {error}")
        kind = "failed"
    tally.counts[kind] += 1
    tally.seconds.setdefault(kind, []).append(time.perf_counter() - began)


async def _sampled(server: ServerProcess, tally: Tally) -> None:
    while True:
        tally.memory.append(server.resident_mb)
        await anyio.sleep(2)


def show(tally: Tally, spent: float, console: Console) -> None:
    """The tables."""
    whole = sum(tally.counts.values())
    table = Table("request", "count", "p50 ms", "p95 ms", "p99 ms")
    table.title = f"{whole} requests in {spent:.0f} s, {len(tally.wrong)} failed"
    for kind, count in tally.counts.most_common():
        ordered = sorted(tally.seconds[kind])
        shares = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.95, 0.99))
        table.add_row(kind, str(count), *(f"{one * 1000:.0f}" for one in shares))
    console.print(table)
    for why in tally.wrong[:10]:
        console.print(why, markup=False)
    quarter = max(1, len(tally.memory) // 4)
    parts = [
        statistics.median(tally.memory[start : start + quarter])
        for start in range(0, len(tally.memory) - quarter + 1, quarter)
    ]
    console.print("memory by quarters, MB:", " ".join(f"{part:.0f}" for part in parts))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=0, help="so many, however long it takes")
    parser.add_argument("--seconds", type=float, default=60.0, help="else for so long")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replicas", type=int, help="of the server; by default one process")
    parser.add_argument("--memory", default="128", help="MB of the server's encoded contexts")
    arguments = parser.parse_args()
    options = ["--memory", arguments.memory]
    if arguments.replicas:
        options += ["--replicas", str(arguments.replicas)]
    seconds = 0.0 if arguments.requests else arguments.seconds
    began = time.perf_counter()
    with server_process(*options) as server:
        tally = anyio.run(
            lambda: load(
                server,
                requests=arguments.requests,
                seconds=seconds,
                clients=arguments.clients,
                seed=arguments.seed,
            )
        )
    show(tally, time.perf_counter() - began, Console(width=100))
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
