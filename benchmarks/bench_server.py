"""What the server costs over the engine in the same process, and what batching gives.

- overhead: the same tool calls, one at a time, in this process and over HTTP on loopback (plain,
  and in a session that is kept), request by request in turn. Of each, what it takes beside the
  forwards and the filling that the engine itself tells of: in this process that is writing and
  tokenising the prompt, over HTTP the server's work and the client's as well. What the server adds
  to a request is the one less the other, so that forwards, which are never twice as long, cancel.
- throughput: calls a second of 1, 4 and 16 clients at once.
- cancelling: from the moment a client closes its connection until the engine is free again, beside
  the time of a denoise step. Here the server is a thread of this process, so that it can be seen.

Client and server share this machine's cores, so the throughput is that of both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import threading
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

import anyio
import httpx2
import torch
import uvicorn
from rich.console import Console
from rich.table import Table
from server_process import server_process

from agentkit_engine import Engine
from agentkit_engine.server.app import make_app
from agentkit_engine.training.evaluation.cases import Case, cases

CHAT = "/v1/chat/completions"
CLIENTS = (1, 4, 16)
# of many values, so that its denoising takes all the steps that it may
LONG = {
    "type": "object",
    "properties": {name: {"type": "string", "minLength": 8} for name in "abcdefgh"},
    "required": list("abcdefgh"),
}


def asked(count: int) -> list[Case]:
    """Requests that call for a tool."""
    found = [one for one in islice(cases("shipped"), 4 * count) if one.kind == "call"]
    return found[:count]


def body_of(case: Case) -> dict[str, Any]:
    """A case as the chat API takes it."""
    return {
        "model": "default",
        "messages": list(case.messages),
        "tools": list(case.tools),
        "tool_choice": "required",
    }


def in_process(engine: Engine, case: Case) -> tuple[float, float]:
    """Seconds that a turn takes here, and those of them that the engine tells."""
    began = time.perf_counter()
    session = engine.session(tools=case.tools)
    session.extend_sync(*case.messages)
    decision = session.decide_sync(case.schemas, must_call=True)
    session.close()
    return time.perf_counter() - began, decision.elapsed + decision.timings.encode


def over_http(client: httpx2.Client, case: Case) -> tuple[float, float]:
    """Seconds that a turn takes over HTTP, and those of them that the engine tells."""
    began = time.perf_counter()
    answer = client.post(CHAT, json=body_of(case))
    spent = time.perf_counter() - began
    assert answer.status_code == 200, answer.text
    [told] = answer.json()["agentkit"]["choices"]
    return spent, told["elapsed"] + told["timings"]["encode"]


def in_session(client: httpx2.Client, case: Case) -> tuple[float, float]:
    """The same in a session that is kept: the decision alone, its messages along with it."""
    tools = [tool["function"] for tool in case.tools]
    said = [dict(message) for message in case.messages]
    first = said.pop(0)["content"] if said[0]["role"] == "system" else ""
    made = client.post("/v1/sessions", json={"tools": tools, "instructions": first})
    assert made.status_code == 201, made.text
    path = f"/v1/sessions/{made.json()['id']}"
    began = time.perf_counter()
    answer = client.post(f"{path}/decide", json={"messages": said})
    spent = time.perf_counter() - began
    assert answer.status_code == 200, answer.text
    client.delete(path)
    return spent, sum(answer.json()["timings"].values())


def overhead(url: str, engine: Engine, count: int) -> list[list[str]]:
    """Lines of the table: in this process, over HTTP, in a session."""
    found: list[tuple[tuple[float, float], ...]] = []
    with httpx2.Client(base_url=url, timeout=60) as client:
        for number, case in enumerate(asked(count + 5)):
            spent = in_process(engine, case), over_http(client, case), in_session(client, case)
            if number >= 5:  # the first few warm it up
                found.append(spent)
    here, *served = zip(*found, strict=True)
    beside = [whole - told for whole, told in here]
    lines = [["in this process", *_both([whole for whole, _ in here]), *_both(beside), "", ""]]
    for name, pairs in zip(("chat completion", "session"), served, strict=True):
        own = [whole - told for whole, told in pairs]
        added = [there - here for there, here in zip(own, beside, strict=True)]
        lines.append([name, *_both([whole for whole, _ in pairs]), *_both(own), *_both(added)])
    return lines


async def throughput(url: str, clients: int, seconds: float) -> tuple[float, list[float]]:
    """Calls a second of some clients at once, and what each call took."""
    turns: list[float] = []
    bodies = [json.dumps(body_of(case)).encode() for case in asked(64)]
    headers = {"content-type": "application/json"}
    limits = httpx2.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits) as client:

        async def one(number: int, end: float) -> None:
            while time.perf_counter() < end:
                began = time.perf_counter()
                content = bodies[(number * 7 + len(turns)) % len(bodies)]
                answer = await client.post(CHAT, content=content, headers=headers)
                assert answer.status_code == 200, answer.text
                turns.append(time.perf_counter() - began)

        for wanted in (2.0, seconds):  # the first warms it up
            turns.clear()
            began = time.perf_counter()
            async with anyio.create_task_group() as group:
                for number in range(clients):
                    group.start_soon(one, number, began + wanted)
        return len(turns) / (time.perf_counter() - began), turns


def cancelling(engine: Engine, count: int) -> tuple[list[float], float]:
    """Seconds from a closed connection to a free engine, and those of a denoise step."""
    server = uvicorn.Server(uvicorn.Config(make_app(engine), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.001)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    body = {"schema": LONG, "text": "", "steps": 48, "verify": "off", "temperature": 2.0}
    try:
        done = httpx2.post(f"{url}/v1/infill", json=body, timeout=60)
        assert done.status_code == 200, done.text
        told = done.json()
        step = told["timings"]["denoise"] / told["forwards"]
        found = [_freed(url, body, engine, 3.5 * step) for _ in range(count)]
    finally:
        server.should_exit = True
        thread.join()
    return found, step


def _freed(url: str, body: Any, engine: Engine, after: float) -> float:
    """Seconds until the engine is free of a request whose connection is closed."""
    closed = asyncio.run(_closed(url, body, after))
    while engine.runtime.scheduler.statistics.queue:
        time.sleep(0.0002)
    return time.perf_counter() - closed


async def _closed(url: str, body: Any, after: float) -> float:
    """When the connection of a request was closed."""
    async with httpx2.AsyncClient(timeout=60) as client:
        with anyio.move_on_after(after):
            await client.post(f"{url}/v1/infill", json=body)
            raise AssertionError("the request ended before it was given up")
        return time.perf_counter()


def _both(seconds: Sequence[float]) -> tuple[str, str]:
    """The median and the 95th percentile, in milliseconds."""
    ordered = sorted(seconds)
    last = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    return f"{statistics.median(ordered) * 1000:.1f}", f"{last * 1000:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="turns of each kind")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each throughput")
    parser.add_argument("--replicas", type=int, help="measure a server of so many replicas, too")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    engine, console = Engine.load(), Console(width=120)
    machine = f"{platform.processor() or platform.machine()}, {arguments.threads} threads"
    kinds: dict[str, tuple[str, ...]] = {"one process": ()}
    if arguments.replicas:
        kinds[f"{arguments.replicas} replicas"] = ("--replicas", str(arguments.replicas))
    for kind, options in kinds.items():
        heads = [f"{what}p{share}" for what in ("", "beside ", "added ") for share in (50, 95)]
        table = Table("a tool call", *heads)
        table.title = f"{kind}; {machine}; ms over {arguments.count} turns, one at a time"
        with server_process(*options) as server:
            for line in overhead(server.url, engine, arguments.count):
                table.add_row(*line)
            console.print(table)
            rates = Table("clients", "calls a second", "to one client", "p50 ms", "p95 ms")
            first = 0.0
            for clients in CLIENTS:
                rate, turns = asyncio.run(throughput(server.url, clients, arguments.seconds))
                first = first or rate
                rates.add_row(str(clients), f"{rate:.1f}", f"{rate / first:.2f}", *_both(turns))
            console.print(rates)
    freed, step = cancelling(engine, 20)
    p50, p95 = _both(freed)
    console.print(
        f"a closed connection frees the engine in {p50} ms (p95 {p95}); "
        f"a denoise step takes {step * 1000:.1f} ms"
    )
    engine.close()


if __name__ == "__main__":
    main()
