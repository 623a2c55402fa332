"""The feed of a training run: batches made of the corpus by worker processes, as they are needed.

Pool after pool, so that a run that is taken up goes on with what it has not seen. Knows the corpus,
canvases and batches. Must not know models' weights or optimisers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers import PreTrainedTokenizerFast

from agentkit_engine.training.canvases import Canvases, Example
from agentkit_engine.training.corpus.scenes import Part, scene
from agentkit_engine.training.objective import Batch, collate
from agentkit_engine.training.recipe import Recipe
from agentkit_engine.training.tokenizer import DIALECT

_POOL = 12  # batches made at a time, so that examples of like length go together
# Scenes that teach to choose: many requests each. Where the names mean nothing, only descriptions
# and parameters tell which tool is meant.
_CHOOSING = Part(
    least_tools=2, branches=24, invented=0.35, opaque=0.5,
    shares={"single": 0.54, "refusal": 0.34, "missing": 0.07, "small talk": 0.05},
)  # fmt: skip


class Feed(IterableDataset[tuple[int, Batch]]):
    """Numbered pools of batches, without end.

    Args:
        first: number of the first pool.
        most_tools: the most tools that are declared.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, *, first: int, most_tools: int
    ) -> None:
        self._tokenizer, self._recipe = tokenizer, recipe
        self._first, self._most_tools = first, most_tools

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        """Each batch with the number of its pool."""
        worker: Any = get_worker_info()
        number, step = (worker.id, worker.num_workers) if worker else (0, 1)
        canvases = Canvases(self._tokenizer, DIALECT)
        pool = self._first + number
        while True:
            for batch in self._pool(canvases, Random(f"{self._recipe.seed}/pool/{pool}")):
                yield pool, batch
            pool += step

    def _pool(self, canvases: Canvases, random: Random) -> Iterator[Batch]:
        recipe = self._recipe
        whole = Part(most_tools=self._most_tools, branches=recipe.branches)
        choosing = replace(_CHOOSING, most_tools=self._most_tools)
        scenes: list[list[Example]] = []
        size = 0
        while size < _POOL * recipe.tokens:
            if random.random() < recipe.choosing_share:
                made = canvases.choosing(scene(random, choosing), random)
            else:
                made = canvases.scene(scene(random, whole), random)
            if recipe.causal_only:
                made = [replace(example, blocks=()) for example in made if example.spoken]
            fitting = [e for e in made if e.own <= recipe.longest_row and (e.blocks or e.spoken)]
            if not fitting or fitting[0].shared > recipe.longest_trunk:
                continue
            scenes.append(fitting)
            size += fitting[0].shared + sum(example.own for example in fitting)
        groups = list(_grouped(scenes, recipe.tokens))
        random.shuffle(groups)
        for group in groups:
            yield collate(
                group, canvases, vocabulary=len(self._tokenizer), mask_share=recipe.mask_share,
                random=random,
            )  # fmt: skip


def _grouped(scenes: list[list[Example]], budget: int) -> Iterator[list[Example]]:
    """Scenes of like size together, up to `budget` positions."""
    longest = sorted(scenes, key=lambda scene: (max(e.own for e in scene), scene[0].shared))
    found: list[Example] = []
    size = 0
    for one in longest:
        more = one[0].shared + sum(example.own for example in one)
        if found and size + more > budget:
            yield found
            found, size = [], 0
        found += one
        size += more
    yield found


def batches(
    tokenizer: PreTrainedTokenizerFast, recipe: Recipe, *, first: int, most_tools: int
) -> Iterator[tuple[int, Batch]]:
    """The feed through worker processes, each batch with the number of its pool."""
    feed = Feed(tokenizer, recipe, first=first, most_tools=most_tools)
    loader: Any = DataLoader(
        feed,
        batch_size=None,
        num_workers=recipe.workers,
        prefetch_factor=8 if recipe.workers else None,
        pin_memory=recipe.device != "cpu",
        multiprocessing_context="spawn" if recipe.workers else None,
    )
    return iter(loader)
