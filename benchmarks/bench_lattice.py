"""The lattice beside the dense way to the same answers, and what a turn's worth of regions costs.

One step is the best filling, the log-partition and the entropy of every position. The dense way
normalises the logits and makes all marginals, [L, V], as a sampler over the vocabulary would. Times
are medians on this machine, with each automaton's trellis already made; the ratio is what carries
over to others. Logits are noise of the spread that models have.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from grammar_cases import BOOKING
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from agentkit_engine.checkpoint import load_checkpoint
from agentkit_engine.grammar import TokenAutomaton, Vocabulary, compile_schema
from agentkit_engine.lattice import Lattice, Problem
from agentkit_engine.lattice.trellis import trellis_of
from agentkit_engine.syntax import syntax_of

REGIONS = (
    {"type": "string"},
    {"type": "integer", "minimum": 0, "maximum": 5000},
    {"enum": ["economy", "premium_economy", "business", "first"]},
    {"type": "string", "format": "date"},
)
REGION_LENGTH = 16
SPREAD = 3.0


def made_up(size: int) -> Vocabulary:
    """Tokens of every kind a real vocabulary has: bytes, words, and pieces of JSON."""
    noise = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgk  ETA0123456789"
    pieces = ['"', '":', '","', '",', '": "', '"}', "{", "[", "]", "-", ".", "@"]
    tokens = dict.fromkeys(bytes([byte]) for byte in range(256))
    tokens |= dict.fromkeys(piece.encode() for piece in pieces)
    while len(tokens) < size - 2:
        tokens["".join(noise.choices(letters, k=noise.randint(2, 8))).encode()] = None
    return Vocabulary.from_tokens((None, None, *tokens))


def embedded_regions() -> tuple[int, list[TokenAutomaton]]:
    """The size of the embedded checkpoint's vocabulary, and slots of several kinds over it."""
    checkpoint = load_checkpoint("embedded")
    syntax, filler = syntax_of(checkpoint.dialect.syntax), checkpoint.tokens.filler
    assert filler is not None  # the embedded dialect knows slots
    vocabulary = Vocabulary.from_tokenizer(checkpoint.tokenizer, symbols=syntax.symbols)
    slots = [
        compile_schema(schema, vocabulary=vocabulary, syntax=syntax).fill(filler)
        for schema in REGIONS
    ]
    return vocabulary.size, slots


def unused(vocabulary: Vocabulary) -> tuple[int, int]:
    """Two tokens that write nothing, for the end and the padding."""
    first, second, *_ = (t for t, text in enumerate(vocabulary.token_bytes) if text is None)
    return first, second


def step(problems: Sequence[Problem]) -> None:
    """What a denoising step asks: the best filling, the log-partition, all entropies."""
    lattice = Lattice(problems, entropies=True)
    lattice.best()
    lattice.entropies()


def last_step(problems: Sequence[Problem]) -> None:
    """What the last of them asks, or the only one: no entropies."""
    Lattice(problems).best()


def dense_step(problems: Sequence[Problem]) -> None:
    """The same through normalised logits and all marginals."""
    for problem in problems:
        log_probs = problem.log_probs.log_softmax(-1)
        lattice = Lattice([Problem(log_probs, problem.automaton)])
        lattice.best()
        chance = lattice.marginals(0)
        (chance * chance.clamp(min=1e-30).log()).sum(-1).neg()


def median(run: Callable[[Sequence[Problem]], None], problems: list[Problem], count: int) -> float:
    """Milliseconds."""
    run(problems)
    seconds: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        run(problems)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000


def line(name: str, size: int, problems: list[Problem], count: int) -> list[str]:
    """One line of the table."""
    ours, last, dense = (median(run, problems, count) for run in (step, last_step, dense_step))
    length = sum(len(one.log_probs) for one in problems)
    trellis = trellis_of([(one.automaton, len(one.log_probs)) for one in problems])
    assert trellis is not None  # the problems have just been solved
    shape = f"{size:,} x {length}"
    return [
        name,
        shape,
        f"{len(trellis.src):,}",
        f"{ours:.2f}",
        f"{last:.2f}",
        f"{dense:.2f}",
        f"{ours / dense:.2f}",
    ]


def noise(automaton: TokenAutomaton, length: int, size: int) -> Problem:
    """Random logits for an automaton."""
    generator = torch.Generator().manual_seed(length)
    return Problem(torch.randn(length, size, generator=generator) * SPREAD, automaton)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json; made up if left out")
    parser.add_argument("--vocabulary", type=int, default=20_000, help="size of the made-up one")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    vocabulary = made_up(arguments.vocabulary)
    if arguments.tokenizer is not None:
        vocabulary = Vocabulary.from_tokenizer(Tokenizer.from_file(str(arguments.tokenizer)))
    whole = compile_schema(BOOKING.schema, vocabulary=vocabulary).close(*unused(vocabulary))
    own, regions = embedded_regions()
    table = Table(
        *("step", "tokens", "edges", "ms", "the last", "dense ms", "ratio"),
        title=f"{platform.processor() or platform.machine()}, {arguments.threads} threads; "
        f"medians of {arguments.count} steps",
    )
    length, size = max(arguments.length, whole.min_tokens), vocabulary.size
    table.add_row(*line("15 fields, floating", size, [noise(whole, length, size)], arguments.count))
    batch = [noise(region, REGION_LENGTH, own) for region in regions]
    table.add_row(*line("4 regions, embedded", own, batch, 20 * arguments.count))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
