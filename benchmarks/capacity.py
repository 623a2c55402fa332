"""How many calls a second one GPU makes, and how many sessions it holds, by a model of cost.

A forward reads the weights once, whatever it computes; and for each row it reads that row's prefix
and computes its positions. So it takes

    max(bytes of weights and prefixes / bandwidth, floating-point operations / rate)

and rows that share a forward share its weights. Of the embedded model the line through forwards is
measured, by the engine itself, while it works; of DiffusionGemma 26B-A4B everything is computed
from published sizes, and nothing was measured: real kernels reach less. (Published is a step of
256 positions in FP8 on an H100 or H200, at 12 to 16 ms; computed here are 6 to 9.) Sizes of its
cache are those of the configuration class's defaults in transformers; a checkpoint's own may differ
(`--kv-heads`). What FP8 gains in arithmetic is left out, as is what lattices and HTTP cost.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from agentkit_engine import Engine

GB = 1e9
TOOLS: dict[str, Any] = {
    "set_lights": {
        "type": "object",
        "properties": {"room": {"type": "string"}, "level": {"type": "integer"}},
        "required": ["room", "level"],
    },
    "book_table": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["city", "people"],
    },
}


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a GPU has.

    Attributes:
        bandwidth: bytes a second, as they are reached.
        rate: floating-point operations a second in BF16: an assumed 40 % of what is printed on it.
        memory: bytes.
    """

    name: str
    bandwidth: float
    rate: float
    memory: float


# 90 % of the bandwidth that is printed on them
H200 = Device(name="H200", bandwidth=4.3e12, rate=400e12, memory=141 * GB)
H100 = Device(name="H100", bandwidth=3.0e12, rate=400e12, memory=80 * GB)


@dataclass(frozen=True, kw_only=True)
class Model:
    """DiffusionGemma 26B-A4B, or one like it.

    Attributes:
        parameters, active: all, and those that one token is computed with.
        experts, chosen: of each layer, and of those for one token.
        width: bytes of a parameter.
        full, sliding: layers that attend to everything, and within a window of tokens.
        full_bytes, sliding_bytes: of one token's keys and values in one layer.
    """

    parameters: float = 25.2e9
    active: float = 3.8e9
    experts: int = 128
    chosen: int = 8
    width: float = 2.0
    full: int = 5
    sliding: int = 25
    window: int = 1024
    full_bytes: int = 2 * 512 * 2 * 2
    sliding_bytes: int = 4 * 256 * 2 * 2

    @property
    def expert(self) -> float:
        """Parameters of one expert, in all layers."""
        return (self.parameters - self.active) / (self.experts - self.chosen)

    def weights(self, positions: int) -> float:
        """Bytes that a forward of so many positions reads: of experts, those that one chooses."""
        touched = self.experts * (1 - (1 - self.chosen / self.experts) ** positions)
        shared = self.active - self.chosen * self.expert
        return self.width * (shared + touched * self.expert)

    def prefix(self, tokens: int) -> float:
        """Bytes of an encoded prefix."""
        within = min(tokens, self.window)
        return self.full * tokens * self.full_bytes + self.sliding * within * self.sliding_bytes

    def seconds(self, device: Device, *, rows: int, positions: int, tokens: int) -> float:
        """Of one forward: rows of so many positions, each behind a prefix of its own."""
        read = self.weights(rows * positions) + rows * self.prefix(tokens)
        computed = 2 * self.active * rows * positions
        return max(read / device.bandwidth, computed / device.rate)


@dataclass(frozen=True, kw_only=True)
class Work:
    """One decision on a call.

    Attributes:
        rows: of its forward: the choice, candidates, the answer.
        forwards: of the denoiser and of the causal encoder, which read as much.
        tokens: of its prefix.
    """

    rows: int
    positions: int
    forwards: float
    tokens: int


def computed(console: Console, model: Model, work: Work) -> None:
    """DiffusionGemma, from its sizes."""
    for device in (H100, H200):
        for name, width in (("BF16", 2.0), ("FP8", 1.0)):
            sized = replace(model, width=width)
            free = 0.9 * device.memory - sized.width * sized.parameters
            if free <= 0:
                continue
            table = Table(title=f"26B-A4B in {name} on one {device.name}: computed, not measured")
            for column in ("calls at once", "ms a forward", "calls/s", "ms a call", "weights"):
                table.add_column(column, justify="right")
            for calls in (1, 2, 4, 8, 16, 32, 64):
                rows = calls * work.rows
                each = sized.seconds(
                    device, rows=rows, positions=work.positions, tokens=work.tokens
                )
                whole = work.forwards * each
                share = sized.weights(rows * work.positions) / device.bandwidth / each
                table.add_row(
                    f"{calls}",
                    f"{each * 1e3:.1f}",
                    f"{calls / whole:.0f}",
                    f"{whole * 1e3:.0f}",
                    f"{share:.0%}",
                )
            console.print(table)
            held = ", ".join(
                f"{int(free / sized.prefix(tokens)):,} of {tokens:,} tokens"
                for tokens in (1_000, 8_000, 32_000)
            )
            console.print(f"sessions whose prefixes fit beside the weights: {held}\n")


def measured(console: Console, work: Work) -> None:
    """The embedded model on this machine, from the line that the engine has fitted."""
    engine = Engine.load()
    try:
        for words in (1, 20, 60, 100):
            session = engine.session(instructions="Be brief.")
            session.extend_sync("dim the lights in the kitchen " * words)
            for steps in (1, 4):
                session.decide_sync(TOOLS, steps=steps, batch="whole", verify="off")
                session.decide_sync(TOOLS, steps=steps, batch="choice-first", verify="off")
        costs, statistics = engine.runtime.costs, engine.runtime.prefixes.statistics
        console.print(f"{statistics.entries} prefixes hold {statistics.bytes / 1e6:.1f} MB")
        table = Table(title="the embedded model on this machine: measured line, computed rates")
        for column in ("calls at once", "positions", "ms a forward", "calls/s"):
            table.add_column(column, justify="right")
        for calls in (1, 2, 4, 8, 16):
            positions = calls * work.rows * work.positions
            each = costs.seconds(positions)
            if each is None:
                console.print("too few forwards were seen for a line; run it again")
                return
            rate = calls / (work.forwards * each)
            table.add_row(f"{calls}", f"{positions}", f"{each * 1e3:.1f}", f"{rate:.1f}")
        console.print(table)
    finally:
        engine.close()


def main() -> None:
    """Prints both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4, help="of one decision")
    parser.add_argument("--positions", type=int, default=32, help="of one row")
    parser.add_argument("--forwards", type=float, default=3.4, help="of one decision, both kinds")
    parser.add_argument("--tokens", type=int, default=4_000, help="of a session's prefix")
    parser.add_argument("--kv-heads", type=int, default=4, help="of a sliding layer")
    parser.add_argument("--computed-only", action="store_true", help="load no model")
    given = parser.parse_args()
    work = Work(
        rows=given.rows, positions=given.positions, forwards=given.forwards, tokens=given.tokens
    )
    console = Console()
    computed(console, Model(sliding_bytes=given.kv_heads * 256 * 2 * 2), work)
    if not given.computed_only:
        measured(console, work)


if __name__ == "__main__":
    main()
