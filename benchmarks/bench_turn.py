"""One turn of the embedded model, beside token-by-token decoding with the same weights.

The peer reads the same prompt with the same model run causally and writes the same kind of call,
one token a forward, greedily, with its cache, unconstrained (so it pays for no grammar). Times are
medians over requests on this machine, behind the encoded prompt; the ratios are what carries over
to others: the lattice's time to the model's, and a turn's to that of the peer.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import DynamicCache

from agentkit_engine import Decision, Engine, FillingOptions
from agentkit_engine.contexts.prompt import render_prompt
from agentkit_engine.training.evaluation.cases import Case, cases
from agentkit_engine.training.evaluation.judging import decide
from agentkit_engine.training.evaluation.matching import Called, same_calls

MOST_TOKENS = 128
MODES: dict[str, FillingOptions] = {
    "off": {"verify": "off"},
    "rerank": {"verify": "rerank"},
    "exact": {"verify": "exact"},
}


@torch.inference_mode()
def left_to_right(engine: Engine, case: Case) -> tuple[float, int, str]:
    """Seconds behind the prompt, forwards, and the text of a greedy causal decode."""
    checkpoint = engine.runtime.checkpoint
    model: Any = checkpoint.model
    prompt = render_prompt(checkpoint.tokenizer, case.messages, case.tools)
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
    (call,) = case.calls
    written = engine.runtime.syntax.dumps(call.arguments)
    for byte, token in engine.runtime.syntax.symbols.items():
        written = written.replace(bytes([byte]), token.encode())
    dialect = engine.runtime.checkpoint.dialect
    return text == f"{dialect.call_open}{call.name}{written.decode()}{dialect.call_close}"


@dataclass(slots=True)
class Measured:
    """What one way of deciding took, turn by turn."""

    decisions: list[Decision] = field(default_factory=list[Decision])
    ratios: list[float] = field(default_factory=list[float])
    right: int = 0

    def line(self, name: str, mode: str) -> list[str]:
        """One line of the table: medians over the turns; what is none of the phases is other."""
        spent = [decision.timings for decision in self.decisions]
        elapsed = [decision.elapsed for decision in self.decisions]
        other = [
            whole - one.denoise - one.verify - one.lattice
            for whole, one in zip(elapsed, spent, strict=True)
        ]
        share = [one.lattice / (one.denoise + one.verify) for one in spent]
        counts = [(decision.forwards, decision.passes) for decision in self.decisions]
        return [
            name,
            mode,
            _median([one.encode for one in spent]),
            _median([one.denoise for one in spent]),
            _median([one.verify for one in spent]),
            _median([one.lattice for one in spent]),
            _median(other),
            f"{statistics.median(share):.0%}",
            " + ".join(f"{statistics.mean(each):.1f}" for each in zip(*counts, strict=True)),
            f"{statistics.median(self.ratios):.2f}",
            f"{self.right / len(self.decisions):.0%}",
        ]


def _median(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f}"


def measure(engine: Engine, name: str, count: int) -> list[list[str]]:
    """Lines of the table, over `count` turns that call for a tool."""
    calling = (case for case in cases(name) if case.kind == "call")
    ours = {mode: Measured() for mode in MODES}
    theirs: list[float] = []
    steps: list[int] = []
    right = 0
    for case in islice(calling, count):
        seconds, forwards, text = left_to_right(engine, case)
        theirs.append(seconds)
        steps.append(forwards)
        right += is_right(engine, case, text)
        for mode, found in ours.items():
            decision = decide(engine, case, **MODES[mode])
            found.decisions.append(decision)
            found.ratios.append(decision.elapsed / seconds)
            made = [Called(one.name, one.arguments) for one in decision.calls]
            found.right += same_calls(made, case.calls)
    peer = [name, "left to right", "", "", "", "", _median(theirs), ""]
    peer += [f"{statistics.mean(steps):.1f}", "1", f"{right / count:.0%}"]
    return [*(found.line(name, mode) for mode, found in ours.items()), peer]


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
        "verify",
        "encode",
        "forward",
        "passes",
        "lattice",
        "other",
        "lattice / model",
        "forwards + passes",
        "time ratio",
        "exact call",
        title=f"{platform.processor() or platform.machine()}, {arguments.threads} threads, "
        f"{engine.runtime.denoiser.device}; ms, medians of {arguments.count} turns",
    )
    for name in ("shipped", "calls"):
        for line in measure(engine, name, arguments.count):
            table.add_row(*line)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
