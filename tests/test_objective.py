"""The objective: its canvases are the engine's forms, its batches hide only what is free.

Training and inference lay a canvas out each on their own way; these tests keep them from drifting.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from random import Random
from typing import Any, TypeVar

import pytest
import torch
from tiny import save_tiny_checkpoint
from transformers import PreTrainedTokenizerFast

from agentkit_engine import Engine, Template
from agentkit_engine.contexts.prompt import render_prompt
from agentkit_engine.layouts.forms import Choice, Form
from agentkit_engine.training.corpus.conversations import Conversation, corpus
from agentkit_engine.training.model import FusedPass, build_model, small_config
from agentkit_engine.training.objective import Batch, Block, Canvases, Example, collate, losses
from agentkit_engine.training.tokenizer import train_tokenizer
from agentkit_engine.training.train import DIALECT

T = TypeVar("T")


class Exact(Random):
    """Draws that make every canvas as wide as the engine's, and no call freely written."""

    def random(self) -> float:
        return 0.5

    def choice(self, seq: Sequence[T]) -> T:  # type: ignore[override]
        return seq[-1]


class Free(Exact):
    """Draws that write every call freely, too."""

    def random(self) -> float:
        return 0.1


@pytest.fixture(scope="module")
def conversations() -> list[Conversation]:
    return list(islice(corpus(11), 150))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    texts = (json.dumps([one.tools, one.messages]) for one in islice(corpus(10), 300))
    return train_tokenizer(texts, vocabulary=800)


@pytest.fixture(scope="module")
def canvases(tokenizer: PreTrainedTokenizerFast) -> Canvases:
    return Canvases(tokenizer, DIALECT)


@pytest.fixture(scope="module")
def engine(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """An engine over an untrained model with a tokenizer as training makes it."""
    folder = tmp_path_factory.mktemp("untrained")
    config = small_config(
        vocabulary=len(tokenizer), hidden=32, layers=2, heads=2, key_value_heads=1, feed_forward=48
    )
    model = build_model(config)
    save_tiny_checkpoint(folder, model=model, tokenizer=tokenizer, dialect=DIALECT)
    return Engine.load(folder, device="cpu")


def pins(block: Block) -> tuple[int | None, ...]:
    """A canvas as forms have it: None where a position is free."""
    return tuple(
        None if free else token for token, free in zip(block.tokens, block.free, strict=True)
    )


def assert_reachable(form: Form, block: Block) -> None:
    """What training asks for is something the engine may put there."""
    for region in form.regions:
        target = block.tokens[region.start : region.stop]
        if isinstance(region, Choice):
            assert target in region.sequences
        else:
            assert region.automaton.accepts(target)


def turns(
    conversation: Conversation, example: Example
) -> Iterator[tuple[int, dict[str, Any], list[Block]]]:
    """Index and message of each turn of the model, with its canvases: the choice first."""
    places = sorted({block.at for block in example.blocks})
    indices = [i for i, m in enumerate(conversation.messages) if m["role"] == "assistant"]
    for at, index in zip(places, indices, strict=True):
        blocks = [block for block in example.blocks if block.at == at]
        yield index, conversation.messages[index], blocks


def parameters(conversation: Conversation, name: str) -> dict[str, Any]:
    tools = (tool["function"] for tool in conversation.tools)
    return next(tool["parameters"] for tool in tools if tool["name"] == name)


def test_the_canvases_of_training_are_the_forms_of_the_engine(
    engine: Engine, canvases: Canvases, conversations: list[Conversation]
) -> None:
    forms = engine.runtime.forms
    same = {"choice": 0, "call": 0, "answer": 0}
    wide = dict(same)
    for conversation in conversations:
        if conversation.extraction is not None:
            continue
        names = [tool["function"]["name"] for tool in conversation.tools]
        example = canvases.example(conversation, Exact())
        for _, message, (choice, *rest) in turns(conversation, example):
            rows = [("choice", forms.choice(names, layout=None), choice, None)]
            if message.get("tool_calls"):
                call = message["tool_calls"][0]["function"]
                schema = parameters(conversation, call["name"])
                form = forms.call(call["name"], schema, layout=None)
                # a call without parameters is all pins: there is nothing to train
                assert len(rest) == bool(form.regions)
                rows += [("call", form, block, call["arguments"]) for block in rest]
            else:
                (block,) = rest
                form = forms.answer(layout=None)
                rows.append(("answer", form, block, message["content"]))
            for kind, form, block, value in rows:
                if len(block.tokens) > form.width:  # of a value longer than is typical
                    wide[kind] += 1
                    continue
                assert pins(block) == form.tokens
                assert_reachable(form, block)
                assert form.read(block.tokens) == value
                same[kind] += 1
    assert min(same.values()) > 50
    assert wide["choice"] == 0
    assert wide["call"] < 0.1 * same["call"]
    assert wide["answer"] < 0.1 * same["answer"]


def test_a_bare_schema_has_the_canvas_of_its_template(engine: Engine, canvases: Canvases) -> None:
    extractions = (one for one in corpus(12) if one.extraction is not None)
    same = 0
    for conversation in islice(extractions, 20):
        task = conversation.extraction
        assert task is not None
        template = Template.json_schema(task.tool["function"]["parameters"])
        form = engine.runtime.forms.template(template, layout=None, width=None)
        (block,) = canvases.example(conversation, Exact()).blocks
        if len(block.tokens) == form.width:
            assert pins(block) == form.tokens
            assert_reachable(form, block)
            assert form.read(block.tokens) == task.arguments
            same += 1
    assert same > 10


def test_a_call_written_freely_is_one_the_engine_can_write(
    engine: Engine, canvases: Canvases, conversations: list[Conversation]
) -> None:
    found = 0
    for conversation in conversations[:40]:
        if conversation.extraction is not None:
            continue
        example = canvases.example(conversation, Free())
        for _, message, (_, *rest) in turns(conversation, example):
            if not message.get("tool_calls"):
                continue
            call, block = message["tool_calls"][0]["function"], rest[0]
            schema = parameters(conversation, call["name"])
            form = engine.runtime.forms.call(call["name"], schema, layout="float")
            (region,) = form.regions
            assert not isinstance(region, Choice)
            assert all(block.free)
            assert block.tokens[: region.start] == form.tokens[: region.start]
            assert region.automaton.accepts(block.tokens[region.start :])
            found += 1
    assert found > 20


def test_the_prompts_of_training_are_those_of_the_engine(
    engine: Engine, canvases: Canvases, conversations: list[Conversation]
) -> None:
    for conversation in conversations:
        if conversation.extraction is not None:
            continue
        example = canvases.example(conversation, Random(0))
        for index, _, blocks in turns(conversation, example):
            prompt = render_prompt(
                engine.runtime.checkpoint.tokenizer,
                conversation.messages[:index],
                conversation.tools,
            )
            assert list(example.tokens[: blocks[0].at]) == prompt


def test_a_value_has_the_same_tokens_wherever_it_stands(
    canvases: Canvases, conversations: list[Conversation]
) -> None:
    values = [
        value
        for conversation in conversations
        for message in conversation.messages
        for call in message.get("tool_calls", ())
        for value in call["function"]["arguments"].values()
        if isinstance(value, str)
    ]
    assert len(values) > 50
    for value in values:
        tokens = canvases.encode(value.encode())
        said = canvases.encode(f"add '{value}' to it".encode())
        assert said == [*canvases.encode(b"add '"), *tokens, *canvases.encode(b"' to it")]


def test_what_is_no_letter_is_a_token_of_its_own(tokenizer: PreTrainedTokenizerFast) -> None:
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    pieces = [str(tokenizer.decode([i])) for i in range(len(tokenizer)) if i not in special]
    assert max(map(len, pieces)) > 4
    assert [piece for piece in pieces if len(piece) > 1 and not piece.isalpha()] == []


# batches


@pytest.fixture(scope="module")
def examples(canvases: Canvases, conversations: list[Conversation]) -> list[Example]:
    made = (canvases.example(one, Random(7)) for one in conversations)
    return list(islice((example for example in made if example.blocks), 8))


def batch_of(examples: list[Example], canvases: Canvases, *, mask_share: float) -> Batch:
    return collate(examples, canvases, vocabulary=640, mask_share=mask_share, random=Random(3))


def spans(example: Example) -> Iterator[tuple[Block, slice]]:
    """Each canvas and where it lies among the canvases."""
    start = 0
    for block in example.blocks:
        yield block, slice(start, start + len(block.tokens))
        start += len(block.tokens)


def test_only_free_positions_are_corrupted_and_counted(
    examples: list[Example], canvases: Canvases
) -> None:
    for mask_share in (0.0, 1.0):
        batch = batch_of(examples, canvases, mask_share=mask_share)
        changed = batch.noisy != batch.clean
        assert changed.any()
        for row, example in enumerate(examples):
            free = torch.zeros(batch.clean.shape[1], dtype=torch.bool)
            for block, where in spans(example):
                free[where] = torch.tensor(block.free)
                assert tuple(batch.clean[row, where].tolist()) == block.tokens
            assert torch.equal(batch.weight[row] > 0, free)
            assert not (changed[row] & ~free).any()
        if mask_share:
            assert set(batch.noisy[changed].tolist()) == {canvases.mask}
        else:
            assert len(set(batch.noisy[changed].tolist())) > 100


def test_filler_behind_filler_counts_less(examples: list[Example], canvases: Canvases) -> None:
    batch = batch_of(examples, canvases, mask_share=0.5)
    filler = batch.clean == canvases.filler
    later = filler[:, 1:] & filler[:, :-1] & (batch.weight[:, 1:] > 0)
    assert later.any()
    assert (batch.weight[:, 1:][later] < 1).all()
    assert (batch.weight[~filler & (batch.weight > 0)] == 1).all()


def test_a_canvas_sees_its_prompt_and_itself(examples: list[Example], canvases: Canvases) -> None:
    batch = batch_of(examples, canvases, mask_share=0.5)
    encoded = batch.encoded.shape[1]
    causal = torch.ones(encoded, encoded).tril().bool()
    for row, example in enumerate(examples):
        sees = batch.mask[row, 0]
        assert torch.equal(sees[:encoded, :encoded], causal)
        assert not sees[:encoded, encoded:].any()
        for block, where in spans(example):
            expected = torch.zeros(sees.shape[1], dtype=torch.bool)
            expected[: block.at] = True
            expected[encoded + where.start : encoded + where.stop] = True
            for place in range(encoded + where.start, encoded + where.stop):
                assert torch.equal(sees[place], expected)
            positions = batch.positions[row, encoded:][where]
            assert positions.tolist() == list(range(block.at, block.at + len(block.tokens)))


def test_the_encoder_foretells_what_the_model_says(
    examples: list[Example], canvases: Canvases
) -> None:
    batch = batch_of(examples, canvases, mask_share=0.5)
    for row, example in enumerate(examples):
        places = [place for place in batch.spoken[row].tolist() if place < batch.encoded.shape[1]]
        said = [token for start, stop in example.spoken for token in example.tokens[start:stop]]
        assert batch.encoded[row, torch.tensor(places, dtype=torch.long) + 1].tolist() == said


def test_the_objective_falls_on_a_batch_seen_again(
    engine: Engine, examples: list[Example], canvases: Canvases
) -> None:
    config: Any = engine.runtime.checkpoint.model.config
    model = build_model(config)
    fused, batch = FusedPass(model), batch_of(examples, canvases, mask_share=1.0)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    seen: list[tuple[float, float]] = []
    for step in range(8):
        found = losses(fused, batch, condition=step % 2 == 0, autocast=nullcontext)
        optimizer.zero_grad()
        total: Any = found.total  # backward() is not annotated
        total.backward()
        optimizer.step()
        seen.append((found.denoise, found.causal))
    assert seen[-1][0] < 0.8 * seen[0][0]
    assert seen[-1][1] < 0.8 * seen[0][1]
