"""How many fillings from random logits are valid: the whole way from a schema to a gated value.

Each filling takes the parameters of one tool, one layout and 1 to 8 denoise steps on logits that
say nothing, little or much; some stop early at a draft, some have a value refilled. Every value is
checked by `jsonschema` apart from the engine's own gate. Without `--data` the tools are the ones
this package ships; `--data` names a folder with `bfcl/tools.jsonl` (see grammar_cases.py).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import torch
from grammar_cases import read
from rich.console import Console
from rich.table import Table

from agentkit_engine import Engine, TemplateError
from agentkit_engine.denoisers import Prefix
from agentkit_engine.filling.denoise import Clock, Denoising
from agentkit_engine.filling.settings import Settings
from agentkit_engine.layouts.forms import Form
from agentkit_engine.scheduling.work import Denoise
from agentkit_engine.training.corpus.scenes import Part, corpus

LAYOUTS: tuple[Any, ...] = ("slots", "float")
SPREADS = (0.5, 3.0, 12.0)


def step(denoising: Denoising, logits: Callable[[Denoise], torch.Tensor]) -> None:
    """One denoise step, its forward answered by `logits`."""
    work = denoising.step()
    request = next(work)
    assert isinstance(request, Denoise)
    with suppress(StopIteration):
        work.send(logits(request))


def random_logits(size: int, random: Random) -> Callable[[Denoise], torch.Tensor]:
    """Logits that know nothing: [B, W, size]."""
    spread, generator = random.choice(SPREADS), torch.Generator()
    generator.manual_seed(random.getrandbits(40))

    def logits(request: Denoise) -> torch.Tensor:
        return spread * torch.randn((*request.canvas.shape, size), generator=generator)

    return logits


def schemas(data: Path | None) -> list[Mapping[str, Any]]:
    """Parameters of tools."""
    if data is not None:
        return [case.schema for case in read("bfcl", data)]
    found: dict[str, Mapping[str, Any]] = {}
    for scene in islice(corpus(0, Part(shipped=0.5, branches=1)), 200):
        for tool in scene[0].tools:
            found[tool["function"]["name"]] = tool["function"]["parameters"]
    return list(found.values())


def fill(engine: Engine, form: Form, random: Random) -> tuple[str, tuple[int, ...]]:
    """How it was filled, and the row."""
    steps, seed = random.randint(1, 8), random.getrandbits(32)
    early = random.random() < 0.3
    denoising = Denoising(
        Prefix((1,), None),
        [form],
        noise=engine.runtime.noise,
        settings=Settings(steps=steps, seed=seed),
        clock=Clock(),
    )
    logits = random_logits(engine.runtime.denoiser.vocab_size, random)
    for _ in range(random.randint(1, steps) if early else steps):
        step(denoising, logits)
        if not denoising.renoise([0]):
            break
    return "stopped early" if early else "to the end", denoising.filled(0).tokens


def refilled(
    engine: Engine, form: Form, row: tuple[int, ...], random: Random
) -> tuple[Any, str] | None:
    """A row of which one value was rejected, and its pointer; None where no other is valid."""
    assert form.without is not None
    before: dict[str, Any] = form.read(row)
    if not before:
        return None
    pointer = f"/{random.choice(list(before))}"
    try:
        other = form.without([row], [pointer])
    except TemplateError:  # a constant, a choice of one, or no room for another
        return None
    _, again = fill(engine, other, random)
    return other.read(again), pointer


def measure(engine: Engine, offered: Sequence[Any], count: int, seed: int) -> Counter[str]:
    """Fills `count` forms; what came of them."""
    random, found = Random(seed), Counter[str]()
    forms: dict[tuple[int, Any], Form | None] = {}
    for number in range(count):
        which, layout = random.randrange(len(offered)), random.choice(LAYOUTS)
        if (which, layout) not in forms:
            forms[which, layout] = _form(engine, offered[which], layout)
        form = forms[which, layout]
        if form is None:
            found[f"{layout}: longer than the canvas, refused before any forward"] += 1
            continue
        validator: Any = jsonschema.Draft202012Validator(offered[which])
        how, row = fill(engine, form, random)
        value = form.read(row)
        found[f"{layout}: {how}, valid"] += validator.is_valid(value)
        found[f"{layout}: {how}"] += 1
        if random.random() < 0.3 and (again := refilled(engine, form, row, random)):
            changed = again[0] != value
            found[f"{layout}: refilled, valid"] += validator.is_valid(again[0]) and changed
            found[f"{layout}: refilled"] += 1
        if sys.stderr.isatty():
            print(f"\r{number + 1}/{count}", end="", file=sys.stderr, flush=True)
    return found


def _form(engine: Engine, schema: Any, layout: Any) -> Form | None:
    try:
        return engine.runtime.forms.call("tool", schema, layout=layout)
    except TemplateError:
        return None


def lines(found: Counter[str]) -> Iterator[tuple[str, int, int]]:
    """What was filled, how often, how often validly."""
    for what in sorted(name for name in found if not name.endswith(", valid")):
        valid = found[f"{what}, valid"]
        yield what, found[what], valid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--tools", type=int, default=150, help="at most, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    engine = Engine.load()
    offered = schemas(arguments.data)
    Random(arguments.seed).shuffle(offered)
    offered = offered[: arguments.tools]
    began = time.perf_counter()
    found = measure(engine, offered, arguments.count, arguments.seed)
    title = f"{arguments.count} fillings of {len(offered)} tools"
    table = Table("random logits", "fillings", "valid", title=title)
    for what, total, valid in lines(found):
        table.add_row(
            what, str(total), "" if "refused" in what else f"{valid} ({valid / total:.1%})"
        )
    Console(width=120).print(table)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
