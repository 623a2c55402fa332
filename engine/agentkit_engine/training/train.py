"""Trains the embedded checkpoint from nothing, on a corpus made as it goes; resumes where it was.

Knows optimisers, the clock and the files of a training folder. Must not know how a loss is made.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import DiffusionGemmaForBlockDiffusion, PreTrainedTokenizerFast

from agentkit_engine.dialect import Dialect
from agentkit_engine.training.corpus.conversations import Conversation, corpus
from agentkit_engine.training.model import FusedPass, build_model, freeze, small_config
from agentkit_engine.training.objective import Batch, Canvases, Example, Losses, collate, losses
from agentkit_engine.training.tokenizer import ABSENT, FILLER, MASK, train_tokenizer

_POOL = 16  # batches made at a time, so that examples of like length go together
_REPORT_EVERY = 25  # steps
_SAVE_EVERY = 240.0  # seconds
_WARM_UP = 100  # steps
_DECAY_FROM = 0.45  # share of the time after which the learning rate falls to nothing
_LONGEST = 420  # tokens of an encoded conversation
_TEXTS = 20_000  # conversations that the tokenizer learns from

DIALECT = Dialect(
    layouts=("slots", "float"),
    start="mask",
    filler=FILLER,
    absent=ABSENT,
    mask=MASK,
    pad=FILLER,
    answer_width=64,
    spoken=("call", "answer"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything a training run depends on; the defaults are those of the embedded checkpoint.

    Attributes:
        minutes: how long to train; the learning rate follows this clock.
        batch: conversations a step.
        condition_share: how many steps run a self-conditioning pass first.
        mask_share: how many canvases are corrupted with the mask token.
    """

    minutes: float = 108.0
    batch: int = 8
    learning_rate: float = 2e-3
    vocabulary: int = 2560
    hidden: int = 192
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    feed_forward: int = 512
    condition_share: float = 0.15
    mask_share: float = 0.75
    seed: int = 0


@dataclass(slots=True)
class Progress:
    """How far a run is; kept beside the weights."""

    step: int = 0
    pool: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Trainer:
    """One run in one folder: weights, tokenizer, dialect, optimiser state and log."""

    def __init__(self, folder: Path, recipe: Recipe, *, device: str = "cpu") -> None:
        self.folder, self.recipe, self.device = folder, recipe, device
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer = self._tokenizer()
        self.canvases = Canvases(self.tokenizer, DIALECT)
        self.progress = Progress()
        self.model = self._model()
        self.fused = FusedPass(self.model)
        self.optimizers = _optimizers(self.model, recipe.learning_rate)
        self._restore()

    def run(self) -> None:
        """Trains until the recipe's minutes are used up, however many runs that takes."""
        random = Random(f"{self.recipe.seed}/{self.progress.step}")
        torch.manual_seed(self.recipe.seed + self.progress.step)
        before, saved = self.progress.seconds, 0.0
        started = time.monotonic()
        recent: list[Losses] = []
        try:
            for batch in self._batches(random):
                condition = random.random() < self.recipe.condition_share
                recent.append(self._step(batch, condition=condition))
                self.progress.seconds = before + time.monotonic() - started
                if self.progress.step % _REPORT_EVERY == 0:
                    self._report(recent)
                    recent = []
                if self.progress.seconds - before - saved > _SAVE_EVERY:
                    saved = self.progress.seconds - before
                    self.save()
                if self.share >= 1:
                    break
        finally:  # also when interrupted: nothing learned is lost
            self.save()

    @property
    def share(self) -> float:
        """How much of the time is used up."""
        return self.progress.seconds / (self.recipe.minutes * 60)

    def save(self) -> None:
        """Writes weights and state aside, then puts them in the place of the last ones."""
        aside = self.folder / "partial"
        self.model.save_pretrained(aside)
        state = {
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": asdict(self.progress),
            "recipe": asdict(self.recipe),
        }
        torch.save(state, aside / "state.pt")
        for path in sorted(aside.iterdir()):
            path.replace(self.folder / path.name)
        aside.rmdir()

    def _step(self, batch: Batch, *, condition: bool) -> Losses:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._learning_rate()
        batch = batch.to(self.device)
        found = losses(self.fused, batch, condition=condition, autocast=self._autocast)
        found.total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self.progress.tokens += batch.tokens
        return found

    def _learning_rate(self) -> float:
        warm = min(1.0, (self.progress.step + 1) / _WARM_UP)
        decay = min(1.0, (1 - self.share) / (1 - _DECAY_FROM))
        return self.recipe.learning_rate * warm * max(0.01, decay)

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)

    def _batches(self, random: Random) -> Iterator[Batch]:
        size = self.recipe.batch
        while True:
            examples = self._pool()
            groups = [examples[start : start + size] for start in range(0, len(examples), size)]
            random.shuffle(groups)
            for group in groups:
                yield collate(
                    group, self.canvases, vocabulary=len(self.tokenizer),
                    mask_share=self.recipe.mask_share, random=random,
                )  # fmt: skip

    def _pool(self) -> list[Example]:
        """The next examples, by length; more tools are declared as training goes on."""
        most = 2 if self.share < 0.08 else 4 if self.share < 0.25 else 6
        self.progress.pool += 1
        random = Random(f"{self.recipe.seed}/pool/{self.progress.pool}")
        made = (
            self.canvases.example(conversation, random)
            for conversation in corpus(random.getrandbits(48), most_tools=most)
        )
        fitting = (e for e in made if e.blocks and len(e.tokens) <= _LONGEST)
        return sorted(islice(fitting, _POOL * self.recipe.batch), key=lambda e: e.size)

    def _report(self, recent: list[Losses]) -> None:
        p, n = self.progress, len(recent)
        line = {
            "step": p.step,
            "minutes": round(p.seconds / 60, 2),
            "denoise": round(sum(x.denoise for x in recent) / n, 4),
            "causal": round(sum(x.causal for x in recent) / n, 4),
            "tokens": p.tokens,
            "learning_rate": round(self._learning_rate(), 6),
        }
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        left = self.recipe.minutes - p.seconds / 60
        print(
            f"{self.share:5.1%}  step {p.step}  "
            f"denoise {line['denoise']:.3f}  causal {line['causal']:.3f}  "
            f"{p.tokens / max(p.seconds, 1):,.0f} tokens/s  {left:.0f} min left",
            file=sys.stderr,
            flush=True,
        )

    def _tokenizer(self) -> PreTrainedTokenizerFast:
        if (self.folder / "tokenizer.json").exists():
            return PreTrainedTokenizerFast.from_pretrained(self.folder)
        texts = (_text(c) for c in islice(corpus(self.recipe.seed - 1), _TEXTS))
        tokenizer = train_tokenizer(texts, vocabulary=self.recipe.vocabulary)
        tokenizer.save_pretrained(self.folder)
        (self.folder / "agentkit.json").write_text(DIALECT.to_json())
        return tokenizer

    def _model(self) -> DiffusionGemmaForBlockDiffusion:
        if (self.folder / "model.safetensors").exists():
            stored: Any = DiffusionGemmaForBlockDiffusion.from_pretrained(
                self.folder, dtype=torch.float32
            )
            freeze(stored)
            return stored.to(self.device)
        recipe = self.recipe
        config = small_config(
            vocabulary=len(self.tokenizer),
            hidden=recipe.hidden,
            layers=recipe.layers,
            heads=recipe.heads,
            key_value_heads=recipe.key_value_heads,
            feed_forward=recipe.feed_forward,
        )
        made: Any = build_model(config, seed=recipe.seed)
        return made.to(self.device)

    def _restore(self) -> None:
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location=self.device)
        self.progress = Progress(**state["progress"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def _text(conversation: Conversation) -> str:
    """What the tokenizer learns its merges from: every word of a conversation."""
    return json.dumps([conversation.tools, conversation.messages], ensure_ascii=False)


def _optimizers(model: DiffusionGemmaForBlockDiffusion, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [
        p for name, p in trained if p.ndim == 2 and "embed" not in name and "lm_head" not in name
    ]
    inside = {id(p) for p in matrices}
    rest = [p for _, p in trained if id(p) not in inside]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
