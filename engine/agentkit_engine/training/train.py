"""Trains a checkpoint from nothing, on a corpus made as it goes; resumes where it was.

Knows optimisers, the clock and the files of a training folder. Must not know how a loss is made.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import DiffusionGemmaForBlockDiffusion, PreTrainedTokenizerFast

from agentkit_engine.errors import CheckpointError
from agentkit_engine.training.corpus.conversations import Conversation
from agentkit_engine.training.corpus.scenes import corpus
from agentkit_engine.training.feed import batches
from agentkit_engine.training.model import FusedPass, build_model, freeze, small_config
from agentkit_engine.training.objective import Batch, Losses, losses
from agentkit_engine.training.recipe import Recipe
from agentkit_engine.training.tokenizer import DIALECT, train_tokenizer

_REPORT_EVERY = 10  # steps
_SAVE_EVERY = 300.0  # seconds
_WARM_UP = 100  # steps
_TEXTS = 4_000  # scenes that the tokenizer learns from
# at most so many tools are declared from a share of the time on
_CURRICULUM = ((0.0, 2), (0.03, 5), (0.1, 12))
# of a recipe, what may change when a run is taken up
_FREE = (
    "minutes", "device", "compile", "threads", "workers", "decay_from", "learning_rate",
    "tokens", "choosing_share", "pointing", "longest_trunk",
)  # fmt: skip


@dataclass(slots=True)
class Progress:
    """How far a run is; kept beside the weights."""

    step: int = 0
    pool: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Trainer:
    """One run in one folder: weights, tokenizer, dialect, optimiser state and log.

    Raises:
        CheckpointError: the folder holds a run of another recipe.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.recipe, self.device = folder, recipe, recipe.device
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        folder.mkdir(parents=True, exist_ok=True)
        state = self._stored()
        self.tokenizer = self._tokenizer()
        self.progress = Progress()
        self.model = self._model()
        self.average = AveragedModel(
            self.model, multi_avg_fn=partial(_averaged, recipe.average), use_buffers=False
        )
        self.fused: Any = FusedPass(self.model)
        if recipe.compile:
            self.fused.compile_parts(whole=recipe.device != "cpu")
        self.optimizers = _optimizers(self.model, recipe.learning_rate)
        if state:
            self._restore(state)

    def run(self) -> None:
        """Trains until the recipe's minutes are used up, however many runs that takes."""
        random = Random(f"{self.recipe.seed}/{self.progress.step}")
        torch.manual_seed(self.recipe.seed + self.progress.step)
        before, saved = self.progress.seconds, 0.0
        started = time.monotonic()
        recent: list[Losses] = []
        try:
            while self.share < 1:
                stage = self._most_tools()
                feed = batches(
                    self.tokenizer, self.recipe, first=self.progress.pool + 1, most_tools=stage
                )
                while True:
                    numbered = list(islice(feed, self.recipe.passes))
                    condition = random.random() < self.recipe.condition_share
                    recent += self._step([batch for _, batch in numbered], condition=condition)
                    self.progress.pool = max(self.progress.pool, *(pool for pool, _ in numbered))
                    self.progress.seconds = before + time.monotonic() - started
                    if self.progress.step % _REPORT_EVERY == 0:
                        self._report(recent)
                        recent = []
                    if self.progress.seconds - before - saved > _SAVE_EVERY:
                        saved = self.progress.seconds - before
                        self.save()
                    if self.share >= 1 or self._most_tools() != stage:
                        break
        finally:  # also when interrupted: nothing learned is lost
            self.save()

    @property
    def share(self) -> float:
        """How much of the time is used up."""
        return self.progress.seconds / (self.recipe.minutes * 60)

    def save(self) -> None:
        """Writes weights and state aside, then puts them in the place of the last ones.

        The folder's model is the moving average, so it can be measured and exported at any time.
        """
        aside = self.folder / "partial"
        averaged: Any = self.average.module
        averaged.save_pretrained(aside)
        state = {
            "model": self.model.state_dict(),
            "averaged": int(self.average.n_averaged),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": asdict(self.progress),
            "recipe": asdict(self.recipe),
        }
        torch.save(state, aside / "state.pt")
        for path in sorted(aside.iterdir()):
            path.replace(self.folder / path.name)
        aside.rmdir()

    def _step(self, parts: Sequence[Batch], *, condition: bool) -> list[Losses]:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._learning_rate()
        made: list[Losses] = []
        for part in parts:
            batch = part.to(self.device)
            found = losses(
                self.fused, batch, condition=condition, pointing=self.recipe.pointing,
                autocast=self._autocast,
            )  # fmt: skip
            (found.total / len(parts)).backward()
            made.append(found)
            self.progress.tokens += batch.tokens
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.average.update_parameters(self.model)
        self.progress.step += 1
        return made

    def _learning_rate(self) -> float:
        warm = min(1.0, (self.progress.step + 1) / _WARM_UP)
        decay = min(1.0, (1 - self.share) / (1 - self.recipe.decay_from))
        return self.recipe.learning_rate * warm * max(0.01, decay)

    def _most_tools(self) -> int:
        return [most for since, most in _CURRICULUM if self.share >= since][-1]

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)

    def _report(self, recent: list[Losses]) -> None:
        p, n = self.progress, len(recent)
        line = {
            "step": p.step,
            "minutes": round(p.seconds / 60, 2),
            "denoise": round(sum(x.denoise for x in recent) / n, 4),
            "causal": round(sum(x.causal for x in recent) / n, 4),
            "pointing": round(sum(x.pointing for x in recent) / n, 4),
            "tokens": p.tokens,
            "learning_rate": round(self._learning_rate(), 6),
        }
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        left = self.recipe.minutes - p.seconds / 60
        print(
            f"{self.share:5.1%}  step {p.step}  "
            f"denoise {line['denoise']:.3f}  causal {line['causal']:.3f}  "
            f"pointing {line['pointing']:.3f}  "
            f"{p.tokens / max(p.seconds, 1):,.0f} tokens/s  {left:.0f} min left",
            file=sys.stderr,
            flush=True,
        )

    def _stored(self) -> dict[str, Any] | None:
        """The state of a run that is taken up, which goes on with the recipe that it began with."""
        path = self.folder / "state.pt"
        if not path.exists():
            return None
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=self.device)
        before = state.get("recipe") or {}  # the first runs did not write it down
        now = asdict(self.recipe)
        names = [field.name for field in fields(Recipe) if field.name not in _FREE]
        changed = [
            f"{name}: {before.get(name)} then, {now[name]} now"
            for name in names
            if before.get(name) != now[name]
        ]
        if changed:
            told = ", ".join(changed)
            raise CheckpointError(
                f"{str(self.folder)!r} holds a run of another recipe ({told}); take another folder"
            )
        return state

    def _tokenizer(self) -> PreTrainedTokenizerFast:
        if (self.folder / "tokenizer.json").exists():
            return PreTrainedTokenizerFast.from_pretrained(self.folder)
        scenes = islice(corpus(f"{self.recipe.seed}/tokenizer"), _TEXTS)
        texts = (_text(one) for scene in scenes for one in scene)
        tokenizer = train_tokenizer(texts, vocabulary=self.recipe.vocabulary)
        tokenizer.save_pretrained(self.folder)
        (self.folder / "agentkit.json").write_text(DIALECT.to_json())
        return tokenizer

    def _model(self) -> DiffusionGemmaForBlockDiffusion:
        recipe = self.recipe
        config = small_config(
            vocabulary=len(self.tokenizer),
            hidden=recipe.hidden,
            layers=recipe.layers,
            heads=recipe.heads,
            key_value_heads=recipe.key_value_heads,
            head_dim=recipe.head_dim,
            feed_forward=recipe.feed_forward,
        )
        made: Any = build_model(config, seed=recipe.seed)
        return made.to(self.device)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.progress = Progress(**state["progress"])
        averaged: Any = DiffusionGemmaForBlockDiffusion.from_pretrained(
            self.folder, dtype=torch.float32
        )
        freeze(averaged)
        self.average.module.load_state_dict(averaged.state_dict())
        self.average.n_averaged.fill_(state["averaged"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def _averaged(most: float, kept: Any, new: Any, count: Any) -> None:
    """Moves an average towards new weights; at first faster, so that it forgets where it began."""
    past = min(most, (1 + float(count)) / (10 + float(count)))
    get_ema_multi_avg_fn(past)(kept, new, count)


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
