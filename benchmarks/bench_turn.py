"""One turn of the embedded model, beside token-by-token decoding with the same weights.

The peer reads the same prompt with the same model run causally and writes the same kind of call,
one token a forward, greedily, with its cache, unconstrained (so it pays for no grammar). Times are
medians over requests on this machine; the ratio is what carries over to others.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from itertools import islice
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import DynamicCache

from agentkit_engine import Engine
from agentkit_engine.prompt import render_prompt
from agentkit_engine.training.evaluate import Case, cases, decide

MOST_TOKENS = 128


@torch.inference_mode()
def left_to_right(engine: Engine, case: Case) -> tuple[float, int, str]:
    """Seconds behind the prompt, forwards, and the text of a greedy causal decode."""
    checkpoint = engine.runtime.checkpoint
    model: Any = checkpoint.model
    messages, tools = case.conversation.messages[: case.before], case.conversation.tools
    prompt = render_prompt(checkpoint.tokenizer, messages, tools)
    stops = {checkpoint.tokens.call_close[0], checkpoint.tokens.end}
    cache = DynamicCache(config=model.config.text_config)
    device = engine.runtime.denoiser.device

    def following(tokens: list[int]) -> int:
        ids = torch.tensor([tokens], device=device)
        hidden = model.model.encoder(input_ids=ids, past_key_values=cache).last_hidden_state
        return int(model.lm_head(hidden[0, -1]).argmax())

    token = following(prompt)
    began = time.perf_counter()
    written = [token]
    while written[-1] not in stops and len(written) < MOST_TOKENS:
        written.append(following(written[-1:]))
    tokenizer: Any = checkpoint.tokenizer
    text = str(tokenizer.decode(written))
    return time.perf_counter() - began, len(written), text


def is_right(engine: Engine, case: Case, text: str) -> bool:
    """Whether the text is the expected call, character for character."""
    call = case.expected["tool_calls"][0]["function"]
    written = engine.runtime.syntax.dumps(call["arguments"])
    for byte, token in engine.runtime.syntax.symbols.items():
        written = written.replace(bytes([byte]), token.encode())
    dialect = engine.runtime.checkpoint.dialect
    return text == f"{dialect.call_open}{call['name']}{written.decode()}{dialect.call_close}"


def measure(engine: Engine, name: str, count: int) -> list[str]:
    """One line of the table: medians over `count` turns that call for a tool."""
    calling = (case for case in cases(name) if case.expected.get("tool_calls"))
    ours: list[float] = []
    encode: list[float] = []
    lattice: list[float] = []
    theirs: list[float] = []
    forwards: list[int] = []
    right = [0, 0]
    for case in islice(calling, count):
        decision = decide(engine, case)
        ours.append(decision.elapsed)
        encode.append(decision.timings.encode)
        lattice.append(decision.timings.lattice)
        call = case.expected["tool_calls"][0]["function"]
        right[0] += (decision.name, decision.value) == (call["name"], call["arguments"])
        seconds, steps, text = left_to_right(engine, case)
        theirs.append(seconds)
        forwards.append(steps)
        right[1] += is_right(engine, case, text)
    ratio = statistics.median(mine / peer for mine, peer in zip(ours, theirs, strict=True))

    def median(seconds: list[float]) -> str:
        return f"{statistics.median(seconds) * 1000:.1f}"

    return [
        name,
        median(encode),
        median(ours),
        median(lattice),
        median(theirs),
        f"1 / {statistics.median(forwards):.0f}",
        f"{ratio:.2f}",
        f"{right[0] / count:.0%} / {right[1] / count:.0%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="embedded")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    engine = Engine.load(arguments.checkpoint)
    table = Table(
        "set",
        "encode ms",
        "turn ms",
        "of it lattice",
        "left to right ms",
        "forwards",
        "time ratio",
        "exact call",
        title=f"{platform.processor() or platform.machine()}, {arguments.threads} threads, "
        f"{engine.runtime.denoiser.device}; medians of {arguments.count} turns; ours / peer",
    )
    for name in ("shipped tools", "made-up tools, held-out words"):
        table.add_row(*measure(engine, name, arguments.count))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
