"""Teaches a large DiffusionGemma the slot layout: a LoRA on one GPU; resumes where it was.

    python -m agentkit_engine.training lora runs/slots --base google/diffusiongemma-26B-A4B-it

Knows the command, optimiser, clock and files of a run. Must not know how a loss is made, or peft.
What is on the canvases comes from outside, as examples.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import torch

from agentkit_engine.adapter import require_peft
from agentkit_engine.checkpoint import load_checkpoint
from agentkit_engine.dialect import Dialect
from agentkit_engine.errors import CheckpointError, EngineError
from agentkit_engine.training.corruption import corrupted
from agentkit_engine.training.lora.adapting import Adapted
from agentkit_engine.training.lora.options import LoraRecipe
from agentkit_engine.training.lora.passes import (
    Pack,
    PackLoss,
    Taught,
    loss_of,
    pack,
    size_of,
)
from agentkit_engine.training.lora.reserved import slot_dialect

Source: TypeAlias = Callable[[int], Iterator[Taught]]
"""Gives the examples of a step, by its number: as many as are asked for."""

_WARM_UP = 25  # steps
_LEAST = 0.1  # share of the learning rate that is left at the end
_SAVE_EVERY = 240.0  # seconds
_PATIENCE = 1000  # examples in a row that do not fit into a pass


@dataclass(slots=True)
class LoraProgress:
    """How far a run is; kept beside the adapter."""

    step: int = 0
    positions: int = 0
    seconds: float = 0.0


class LoraTrainer:
    """One run in one folder: adapter, dialect, tokenizer, optimiser state and log."""

    def __init__(
        self, folder: Path, base: str, recipe: LoraRecipe, *, device: str = "auto",
        source: Callable[[Any, Dialect], Source] | None = None,
    ) -> None:  # fmt: skip
        """
        Args:
            base: the model that the adapter is for, as `Engine.load` takes it.
            source: makes the examples' source, given tokenizer and dialect; by default the corpus.
        """
        require_peft()  # before the model is fetched
        if Path(base).expanduser().is_dir():  # the adapter will look for it from anywhere
            base = str(Path(base).expanduser().resolve())
        self.folder, self.recipe = folder, recipe
        self._made = {"base": base, "rank": recipe.rank, "alpha": recipe.alpha}
        self.progress = LoraProgress()
        checkpoint = load_checkpoint(base, device=device)
        if checkpoint.adapter is not None:
            raise CheckpointError(f"{base!r} is an adapter; train over the model it is for")
        self.dialect, tokens = slot_dialect(checkpoint.tokenizer, checkpoint.dialect)
        self._ids = self.dialect.resolve(checkpoint.tokenizer)
        self._source = (source or corpus_source(recipe.seed))(checkpoint.tokenizer, self.dialect)
        torch.manual_seed(recipe.seed)
        self.adapted = Adapted(
            checkpoint.model, base=base, rank=recipe.rank, alpha=recipe.alpha, tokens=tokens
        )
        self._vocabulary = int(self.adapted.model.config.text_config.vocab_size)
        self.optimizer = torch.optim.AdamW(
            self.adapted.trained, lr=recipe.learning_rate, betas=(0.95, 0.99), weight_decay=1e-4
        )
        folder.mkdir(parents=True, exist_ok=True)
        self._restore()
        checkpoint.tokenizer.save_pretrained(folder)
        (folder / "agentkit.json").write_text(self.dialect.to_json(), encoding="utf-8")

    def run(self) -> None:
        """Trains until the recipe's steps are done, however many runs that takes."""
        before, saved = self.progress.seconds, 0.0
        started = time.monotonic()
        try:
            while self.progress.step < self.recipe.steps:
                found = self._step()
                self.progress.seconds = before + time.monotonic() - started
                self._report(found)
                if self.progress.seconds - before - saved > _SAVE_EVERY:
                    saved = self.progress.seconds - before
                    self.save()
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"a pass of {self.recipe.positions} positions is more than the GPU holds beside "
                "the model; lower --positions"
            ) from error
        finally:  # also when interrupted: nothing learned is lost
            self.save()

    def save(self) -> None:
        """Writes adapter and state aside, then puts them in the place of the last ones."""
        aside = self.folder / "partial"
        aside.mkdir(exist_ok=True)
        self.adapted.save(aside)
        state = {
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
            "recipe": asdict(self.recipe),
            "made": self._made,
        }
        torch.save(state, aside / "state.pt")
        for path in sorted(aside.iterdir()):
            path.replace(self.folder / path.name)
        aside.rmdir()

    def _step(self) -> PackLoss:
        """One step of the optimiser; its mean loss."""
        step = self.progress.step
        random = Random(f"{self.recipe.seed}/{step}")  # so that a resumed run goes on as it would
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        packs = list(islice(self._packs(step, random), self.recipe.accumulate))
        found: list[PackLoss] = []
        for one in packs:
            condition = random.random() < self.recipe.condition_share
            model = self.adapted.model
            found.append(loss_of(model, one.to(model.device), condition=condition))
            part: Any = found[-1].total / len(packs)  # backward() is not annotated
            part.backward()
            self.progress.positions += one.size
        torch.nn.utils.clip_grad_norm_(self.adapted.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        return _mean(found)

    def _packs(self, step: int, random: Random) -> Iterator[Pack]:
        """The step's examples, as many to a pass as fit."""
        held: list[Taught] = []
        room, skipped = self.recipe.positions, 0
        for example in self._source(step):
            if not example.blocks or size_of(example) > self.recipe.positions:
                skipped += 1
                if skipped == _PATIENCE:
                    raise EngineError(
                        f"none of {skipped} examples fits into {self.recipe.positions} positions; "
                        "raise --positions"
                    )
                continue
            skipped = 0
            size = size_of(example, behind=held[-1] if held else None)
            if size > room:
                yield self._pack(held, random)
                held, room, size = [], self.recipe.positions, size_of(example)
            held.append(example)
            room -= size
        if held:
            yield self._pack(held, random)

    def _pack(self, examples: list[Taught], random: Random) -> Pack:
        mask = self._ids.mask if self.dialect.start == "mask" else None
        filler = self._ids.filler
        assert filler is not None  # the layout 'slots' has one
        noisy = [
            [
                corrupted(
                    block, filler=filler, vocabulary=self._vocabulary, mask=mask, random=random
                )
                for block in example.blocks
            ]
            for example in examples
        ]
        return pack(examples, noisy, filler)

    def _learning_rate(self) -> float:
        step, steps = self.progress.step, self.recipe.steps
        warm = min(1.0, (step + 1) / _WARM_UP)
        cosine = (1 + math.cos(math.pi * min(1.0, step / steps))) / 2
        return self.recipe.learning_rate * warm * (_LEAST + (1 - _LEAST) * cosine)

    def _report(self, found: PackLoss) -> None:
        p = self.progress
        line = {
            "step": p.step,
            "minutes": round(p.seconds / 60, 2),
            "denoise": round(found.denoise, 4),
            "causal": round(found.causal, 4),
            "positions": p.positions,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        left = p.seconds / p.step * (self.recipe.steps - p.step) / 60
        print(
            f"{p.step / self.recipe.steps:5.1%}  step {p.step}  "
            f"denoise {found.denoise:.3f}  causal {found.causal:.3f}  "
            f"{p.positions / max(p.seconds, 1e-3):,.0f} positions/s  {left:.0f} min left",
            file=sys.stderr,
            flush=True,
        )

    def _restore(self) -> None:
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location="cpu")
        if state["made"] != self._made:
            raise CheckpointError(
                f"{str(self.folder)!r} holds a run of {state['made']}, not of {self._made}; go on "
                "with those, or take another folder"
            )
        self.adapted.load(self.folder)
        self.progress = LoraProgress(**state["progress"])
        self.optimizer.load_state_dict(state["optimizer"])


def _mean(found: list[PackLoss]) -> PackLoss:
    count = len(found)
    return PackLoss(
        torch.stack([one.total.detach() for one in found]).mean(),
        sum(one.denoise for one in found) / count,
        sum(one.causal for one in found) / count,
    )


def corpus_source(seed: int) -> Callable[[Any, Dialect], Source]:
    """The conversations that this repository generates, each step its own."""

    def made(tokenizer: Any, dialect: Dialect) -> Source:
        from agentkit_engine.training.canvases import Canvases
        from agentkit_engine.training.corpus.scenes import corpus

        canvases = Canvases(tokenizer, dialect)

        def examples(step: int) -> Iterator[Taught]:
            random = Random(f"{seed}/lora/{step}")
            for scene in corpus(f"{seed}/lora/{step}"):
                yield from canvases.scene(scene, random)

        return examples

    return made


def run_lora(arguments: argparse.Namespace) -> None:
    """Does what the command `lora` says."""
    torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision("high")  # the adapter's float32 would be slow on a GPU
    recipe = LoraRecipe(**{f.name: getattr(arguments, f.name) for f in fields(LoraRecipe)})
    LoraTrainer(arguments.folder, arguments.base, recipe, device=arguments.device).run()
    print(f"load it with Engine.load({arguments.base!r}, adapter={str(arguments.folder)!r})")
