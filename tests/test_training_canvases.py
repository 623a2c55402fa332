"""The canvases of training: they are the forms of the engine, over its prompts.

Training and inference lay a canvas out each on their own way; these tests keep them from drifting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

import pytest
from conversing import parameters, small_tokenizer, some
from tiny import save_tiny_checkpoint
from transformers import PreTrainedTokenizerFast

from agentkit_engine import Engine, Template
from agentkit_engine.contexts.prompt import render_prompt
from agentkit_engine.layouts.forms import Choice, Form
from agentkit_engine.layouts.joined import joined
from agentkit_engine.training.canvases import Block, Canvases, Example
from agentkit_engine.training.corpus.conversations import Conversation
from agentkit_engine.training.model import build_model, small_config
from agentkit_engine.training.tokenizer import DIALECT

T = TypeVar("T")
WIDE = 4096  # room for calls that the engine would make one after the other


class Draws(Random):
    """Draws whose every chance is the same, and which take the last of what there is."""

    def __init__(self, chance: float) -> None:
        super().__init__(0)
        self.chance = chance

    def random(self) -> float:
        return self.chance

    def choice(self, seq: Sequence[T]) -> T:  # type: ignore[override]
        return seq[-1]


EXACT = 0.5  # every canvas is as wide as the engine's, no call is freely written
SEVERAL = 0.3  # the same, and a choice has room for more calls than are made
PINNED = 0.1  # every call is freely written, too, behind a head that is pinned
FREE = 0.05  # every answer is as well


@pytest.fixture(scope="module")
def conversations() -> list[Conversation]:
    return some(11, 100)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return small_tokenizer()


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


def assert_is_form(form: Form, block: Block) -> None:
    """What training asks for is something the engine may put there, and may put only there."""
    assert pins(block) == form.tokens
    for region in form.regions:
        target = block.tokens[region.start : region.stop]
        if isinstance(region, Choice):
            assert target in region.sequences
        else:
            assert region.automaton.accepts(target)


def turns(
    conversation: Conversation, example: Example
) -> Iterator[tuple[int, list[dict[str, Any]], list[Block]]]:
    """Of each turn of the model its place, its calls and its canvases: the choice first."""
    if conversation.extraction is not None:
        return
    places = sorted({block.at for block in example.blocks})
    indices = [i for i, m in enumerate(conversation.messages) if m["role"] == "assistant"]
    for at, index in zip(places, indices, strict=True):
        calls = [c["function"] for c in conversation.messages[index].get("tool_calls", ())]
        yield index, calls, [block for block in example.blocks if block.at == at]


# canvases are forms


def test_a_choice_is_the_form_of_the_engine(
    engine: Engine, canvases: Canvases, conversations: list[Conversation]
) -> None:
    counts: dict[int, int] = {}
    for conversation in conversations:
        names = [tool["function"]["name"] for tool in conversation.tools]
        one = engine.runtime.forms.choice(names, layout=None)
        for chance in (EXACT, SEVERAL):
            example = canvases.example(conversation, Draws(chance))
            for _, calls, (block, *_) in turns(conversation, example):
                slots, rest = divmod(len(block.tokens), one.width)
                assert rest == 0
                if len(block.tokens) > engine.runtime.denoiser.canvas_length:
                    continue
                form = engine.runtime.forms.choice(names, layout=None, at_once=slots)
                assert_is_form(form, block)
                (option, *_) = form.regions
                assert isinstance(option, Choice)
                said = [block.tokens[r.start : r.stop] for r in form.regions]
                chosen = [option.sequences.index(each) for each in said]
                none = len(names)  # behind the calls, and only there
                wanted = [names.index(call["name"]) for call in calls]
                assert chosen == wanted + [none] * (slots - len(wanted))
                counts[slots] = counts.get(slots, 0) + 1
    assert counts[1] > 300
    assert sum(count for slots, count in counts.items() if slots > 1) > 100
    assert min(counts[slots] for slots in (2, 3, 4)) >= 5


def test_choosing_is_a_conversation_up_to_its_first_choice(
    tokenizer: PreTrainedTokenizerFast, canvases: Canvases
) -> None:
    shares = {"single": 0.5, "refusal": 0.2, "missing": 0.2, "twice": 0.1}
    called = 0
    for conversation in some(13, 20, shares=shares):
        whole = canvases.example(conversation, Draws(EXACT))
        (short,) = canvases.choosing([conversation], Draws(EXACT))
        assert short.tokens == whole.tokens[: len(short.tokens)]
        assert short.shared == whole.shared
        (block,), ((start, stop),) = short.blocks, short.spoken
        assert block == replace(whole.blocks[0], blank=block.blank)
        assert block.blank > whole.blocks[0].blank
        assert (start, stop) == (block.at, len(short.tokens))
        told: Any = tokenizer.decode(list(short.tokens[start:]))
        answer = next(said for said in conversation.messages if said["role"] == "assistant")
        if answer.get("tool_calls"):
            head = f"{DIALECT.call_open}{answer['tool_calls'][0]['function']['name']}"
            assert told == head + "{"
            called += 1
        else:
            assert (start, stop) == whole.spoken[0]
    assert called > 20


def test_calls_in_turn_are_chosen_one_at_a_time(
    canvases: Canvases, conversations: list[Conversation]
) -> None:
    for conversation in conversations:
        if conversation.kind in ("together", "chain"):
            example = canvases.example(conversation, Draws(SEVERAL))
            for _, calls, (block, *_) in turns(conversation, example):
                if len(calls) == 1:
                    opening = canvases.encode(DIALECT.call_open.encode())
                    assert block.tokens.count(opening[0]) == 1


def test_calls_are_the_form_of_the_engine_one_behind_the_other(
    engine: Engine, canvases: Canvases, conversations: list[Conversation]
) -> None:
    same: dict[int, int] = {}
    wide = 0
    for conversation in conversations:
        example = canvases.example(conversation, Draws(EXACT))
        for _, calls, (_, *rest) in turns(conversation, example):
            if not calls:
                continue
            forms = [
                engine.runtime.forms.call(
                    call["name"], parameters(conversation, call["name"]), layout=None
                )
                for call in calls
            ]
            whole = joined(forms, WIDE)
            # a call without parameters is all pins: there is nothing to train
            assert len(rest) == bool(whole.regions)
            for block in rest:
                if len(block.tokens) > whole.width:  # of a value longer than is typical
                    wide += 1
                    continue
                assert_is_form(whole, block)
                assert whole.read(block.tokens) == [call["arguments"] for call in calls]
                same[len(calls)] = same.get(len(calls), 0) + 1
    assert same[1] > 80
    assert sum(count for calls, count in same.items() if calls > 1) > 10
    assert wide < 0.1 * sum(same.values())


def test_an_answer_is_the_form_of_the_engine(
    engine: Engine, canvases: Canvases, conversations: list[Conversation]
) -> None:
    form = engine.runtime.forms.answer(layout=None)
    same = wide = 0
    for conversation in conversations:
        example = canvases.example(conversation, Draws(EXACT))
        for index, calls, (_, *rest) in turns(conversation, example):
            if calls:
                continue
            (block,) = rest
            if len(block.tokens) > form.width:
                wide += 1
                continue
            assert_is_form(form, block)
            assert form.read(block.tokens) == conversation.messages[index]["content"]
            same += 1
    assert same > 100
    assert wide < 0.1 * same


def test_a_bare_schema_has_the_canvas_of_its_template(engine: Engine, canvases: Canvases) -> None:
    same = 0
    for conversation in some(12, 12, shares={"extraction": 1.0}):
        task = conversation.extraction
        assert task is not None
        form = engine.runtime.forms.template(
            Template.json_schema(task.declared.schema), layout=None, width=None
        )
        (block,) = canvases.example(conversation, Draws(EXACT)).blocks
        if len(block.tokens) == form.width:
            assert_is_form(form, block)
            assert form.read(block.tokens) == task.arguments
            same += 1
    assert same > 20


@pytest.mark.parametrize("chance", [PINNED, FREE])
def test_a_call_written_freely_is_one_the_engine_can_write(
    engine: Engine, canvases: Canvases, conversations: list[Conversation], chance: float
) -> None:
    found = 0
    for conversation in conversations[:100]:
        example = canvases.example(conversation, Draws(chance))
        for _, calls, (_, *rest) in turns(conversation, example):
            if len(calls) != 1:
                continue
            block, schema = rest[0], parameters(conversation, calls[0]["name"])
            form = engine.runtime.forms.call(calls[0]["name"], schema, layout="float")
            (region,) = form.regions
            assert not isinstance(region, Choice)
            assert block.tokens[: region.start] == form.tokens[: region.start]
            assert pins(block)[: region.start] == form.tokens[: region.start]
            assert all(block.free[region.start :])
            assert region.automaton.accepts(block.tokens[region.start :])
            found += 1
    assert found > 40


def test_a_call_is_also_written_with_nothing_pinned(
    canvases: Canvases, conversations: list[Conversation]
) -> None:
    opening = canvases.encode(DIALECT.call_open.encode())
    heads: set[bool] = set()
    for seed, conversation in enumerate(conversations):
        for block in canvases.example(conversation, Random(seed)).blocks:
            if block.free[-1] and list(block.tokens[: len(opening)]) == opening:
                heads.add(block.free[0])
    assert heads == {False, True}


def test_an_answer_is_also_running_text(
    engine: Engine, canvases: Canvases, conversations: list[Conversation]
) -> None:
    form = engine.runtime.forms.answer(layout="float")
    (region,) = form.regions
    assert not isinstance(region, Choice)
    found = 0
    for conversation in conversations[:40]:
        example = canvases.example(conversation, Draws(FREE))
        for _, calls, (_, *rest) in turns(conversation, example):
            if not calls:
                (block,) = rest
                assert all(block.free)
                assert region.automaton.accepts(block.tokens)
                found += 1
    assert found > 20


# what is read


def test_the_prompts_of_training_are_those_of_the_engine(
    engine: Engine, canvases: Canvases, conversations: list[Conversation]
) -> None:
    tokenizer = engine.runtime.checkpoint.tokenizer
    for conversation in conversations:
        example = canvases.example(conversation, Random(0))
        if conversation.extraction is not None:
            prompt = render_prompt(tokenizer, conversation.messages, conversation.tools)
            assert list(example.tokens) == prompt
            assert [block.at for block in example.blocks] == [len(prompt)]
        for index, _, blocks in turns(conversation, example):
            told = conversation.messages[:index]
            prompt = render_prompt(tokenizer, told, conversation.tools)
            assert list(example.tokens[: blocks[0].at]) == prompt


def test_what_a_scene_shares_ends_before_the_user_speaks(
    canvases: Canvases, conversations: list[Conversation], tokenizer: PreTrainedTokenizerFast
) -> None:
    scenes = [conversations[start : start + 4] for start in range(0, len(conversations), 4)]
    for scene in scenes:
        made = canvases.scene(scene, Random(0))
        (shared,) = {example.tokens[: example.shared] for example in made}
        for example in made:
            begins = str(tokenizer.decode(list(example.tokens[example.shared :])))
            assert begins.startswith("<|turn>user\n")
            assert all(block.at > len(shared) for block in example.blocks)
            assert all(start > len(shared) for start, _ in example.spoken)


def test_a_value_has_the_same_tokens_wherever_it_stands(
    canvases: Canvases, conversations: list[Conversation]
) -> None:
    values = {
        value
        for conversation in conversations
        for message in conversation.messages
        for call in message.get("tool_calls", ())
        for value in call["function"]["arguments"].values()
        if isinstance(value, str)
    }
    assert len(values) > 100
    for value in sorted(values):
        tokens = canvases.encode(value.encode())
        said = canvases.encode(f"add '{value}' to it".encode())
        assert said == [*canvases.encode(b"add '"), *tokens, *canvases.encode(b"' to it")]


def test_what_is_no_letter_is_a_token_of_its_own(tokenizer: PreTrainedTokenizerFast) -> None:
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    pieces = [str(tokenizer.decode([i])) for i in range(len(tokenizer)) if i not in special]
    assert max(map(len, pieces)) > 4
    assert [piece for piece in pieces if len(piece) > 1 and not piece.isalpha()] == []
