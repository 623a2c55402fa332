"""Contexts on the real class at tiny size and on the embedded checkpoint: whatever a chat has been
through, its logits are those of its tokens encoded from scratch, and nothing is encoded twice."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tiny import tiny_model, tiny_tokenizer
from transformers import DiffusionGemmaForBlockDiffusion, PreTrainedTokenizerBase

from agentkit_engine.checkpoint import load_checkpoint
from agentkit_engine.contexts.context import Context
from agentkit_engine.contexts.prefixes import PrefixStore
from agentkit_engine.contexts.prompt import (
    encode_content,
    encode_written,
    render_prompt,
    write_head,
)
from agentkit_engine.denoisers import DiffusionGemmaDenoiser, Prefix
from agentkit_engine.errors import CheckpointError, ContextTooLong, EngineError
from agentkit_engine.scheduling.work import Encode, Work, run_alone

PLENTY = 1 << 30
CALL: dict[str, Any] = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}
    ],
}
CALL_TEXT = '<|tool_call>call:weather{city:<|"|>Paris<|"|>}<tool_call|>'
RESULT: dict[str, Any] = {"role": "tool", "name": "weather", "content": "18 degrees"}
ANSWER: dict[str, Any] = {"role": "assistant", "content": "it is warm"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "the weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


class Counting(DiffusionGemmaDenoiser):
    """The real denoiser, which counts the tokens it had to encode."""

    encoded = 0

    def encode(self, tokens: Sequence[int], *, prefix: Prefix | None = None) -> Prefix:
        found = super().encode(tokens, prefix=prefix)
        self.encoded += len(tokens)
        return found


class Room:
    """One engine's tokenizer, denoiser and store."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        denoiser: DiffusionGemmaDenoiser,
        *,
        budget: int = PLENTY,
    ) -> None:
        self.tokenizer = tokenizer
        self.denoiser = Counting(denoiser._model)
        self.store = PrefixStore(self.denoiser, budget=budget)

    def context(self, *, instructions: str = "be brief", tools: Any = TOOLS) -> Context:
        return Context(self.tokenizer, self.store, instructions=instructions, tools=tools)

    def run(self, work: Work[Any]) -> Any:
        return run_alone(work, self.denoiser)

    def tokens(self, context: Context) -> list[int]:
        return list(self.run(context.prefix()).tokens)

    def encoding(self, work: Work[Any]) -> int:
        """How many tokens a work had encoded."""
        before = self.denoiser.encoded
        self.run(work)
        return self.denoiser.encoded - before

    def spelled_out(self, text: str) -> list[int]:
        """Tokens of a text, one a character where it is ordinary: right, but nobody's habit."""
        control = {
            token.content: id
            for id, token in self.tokenizer.added_tokens_decoder.items()
            if token.special
        }
        tokens: list[int] = []
        while text:
            spelled = next((spelled for spelled in control if text.startswith(spelled)), text[0])
            plain = encode_content(self.tokenizer, spelled)
            tokens += [control[spelled]] if spelled in control else plain
            text = text[len(spelled) :]
        return tokens

    def said(self, context: Context, text: str) -> list[int]:
        """Lets the context's model say `text` in tokens of its own, as a verified canvas does."""
        tokens = self.spelled_out(text)
        before = self.run(context.prefix())
        context.say(tokens, text, self.denoiser.read(before, [tokens]).prefix(0))
        return tokens

    def require_as_from_scratch(self, context: Context) -> None:
        prefix = self.run(context.prefix())
        fresh = DiffusionGemmaDenoiser.encode(self.denoiser, list(prefix.tokens))
        canvas = torch.arange(20, 32)[None]
        actual, expected = (self.denoiser.denoise(p, canvas) for p in (prefix, fresh))
        torch.testing.assert_close(actual, expected, rtol=0.0, atol=1e-4)
        [causal, anew] = (self.denoiser.read(p, [[20, 21]]).logits(0) for p in (prefix, fresh))
        torch.testing.assert_close(causal, anew, rtol=0.0, atol=1e-4)
        rendered = render_prompt(self.tokenizer, context.messages, TOOLS)
        assert self.tokenizer.decode(list(prefix.tokens)) == self.tokenizer.decode(rendered)


TOKENIZER = tiny_tokenizer()
WIDE = DiffusionGemmaDenoiser(tiny_model())
NARROW = DiffusionGemmaDenoiser(tiny_model(window=16))


@pytest.fixture(scope="module")
def embedded() -> tuple[PreTrainedTokenizerBase, DiffusionGemmaDenoiser]:
    checkpoint = load_checkpoint(device="cpu")
    return checkpoint.tokenizer, DiffusionGemmaDenoiser(
        cast(DiffusionGemmaForBlockDiffusion, checkpoint.model)
    )


@pytest.fixture(params=["window wider than the context", "window exceeded", "embedded"])
def room(request: pytest.FixtureRequest) -> Iterator[Room]:
    if request.param == "embedded":
        yield Room(*request.getfixturevalue("embedded"))
    else:
        yield Room(TOKENIZER, NARROW if request.param == "window exceeded" else WIDE)


# --- what is encoded


def test_only_what_is_new_is_encoded(room: Room) -> None:
    context = room.context()
    first = room.encoding(context.extend("weather in Paris"))
    assert first == len(room.tokens(context))
    second = room.encoding(context.extend(CALL, RESULT))
    assert first + second == len(room.tokens(context))
    assert room.encoding(context.prefix()) == 0
    assert context.messages == (
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "weather in Paris"},
        CALL,
        RESULT,
    )
    room.require_as_from_scratch(context)


def test_a_shared_system_prompt_is_encoded_once(room: Room) -> None:
    contexts = [room.context() for _ in range(4)]
    spent = [room.encoding(c.extend(f"weather in town {n}")) for n, c in enumerate(contexts)]
    system = {"role": "system", "content": "be brief"}
    head = len(encode_written(room.tokenizer, write_head(room.tokenizer, [system], TOOLS)))
    assert spent[0] > head > 20
    for context, tokens in zip(contexts[1:], spent[1:], strict=True):
        assert tokens <= len(room.tokens(context)) - head
        room.require_as_from_scratch(context)
    # and by who comes when all others have gone
    for context in contexts:
        context.close()
    late = room.context()
    spent_late = room.encoding(late.extend("hello"))
    assert spent_late <= len(room.tokens(late)) - head


def test_sessions_that_come_at_once_encode_the_shared_head_once() -> None:
    room = Room(TOKENIZER, NARROW)
    contexts = [room.context() for _ in range(5)]
    works = [context.extend(f"town {n}") for n, context in enumerate(contexts)]
    answers: dict[int, Any] = dict.fromkeys(range(5))
    while answers:  # all ask, then all are answered, as a scheduler does
        asked: dict[int, Encode] = {}
        for n, found in answers.items():
            try:
                request = works[n].send(found)
            except StopIteration:
                continue
            assert isinstance(request, Encode)
            asked[n] = request
        answers = {
            n: room.store.encode(request.tokens, prefix=request.prefix)
            for n, request in asked.items()
        }
    lengths = [len(room.tokens(context)) for context in contexts]
    [head] = {entry.prefix.length for entry in room.store._entries.values()} - set(lengths)
    assert room.denoiser.encoded == sum(lengths) - 4 * head


def test_what_is_grown_past_is_not_kept_where_it_can_be_rewound_to() -> None:
    for denoiser, entries in ((WIDE, 2), (NARROW, 4)):
        room = Room(TOKENIZER, denoiser)
        context = room.context()
        for messages in (["hello"], [CALL, RESULT], [ANSWER]):
            room.run(context.extend(*messages))
        assert room.store.statistics.entries == entries  # the head, and here
        # a turn that was never taken is no beginning of what follows: it goes at once
        room.run(context.extend("again"))
        assert room.store.statistics.entries == entries


# --- forks, rewinds, evictions


def test_a_fork_goes_its_own_way(room: Room) -> None:
    trunk = room.context()
    room.run(trunk.extend("weather in Paris"))
    before = room.tokens(trunk)
    branch = trunk.fork()
    assert room.encoding(branch.prefix()) == 0
    room.run(branch.extend(ANSWER, "and in Lagos?"))
    assert len(branch.messages) == len(trunk.messages) + 2
    assert room.encoding(trunk.prefix()) == 0
    assert room.tokens(trunk) == before
    for context in (trunk, branch):
        room.require_as_from_scratch(context)
    branch.close()
    assert room.encoding(trunk.prefix()) == 0


def test_a_rewound_context_goes_on_as_if_nothing_had_been(room: Room) -> None:
    context = room.context()
    room.run(context.extend("weather in Paris"))
    before = room.tokens(context)
    room.run(context.extend(CALL, RESULT))
    context.rewind(2)
    assert len(context.messages) == 2
    assert room.encoding(context.prefix()) == 0  # rewound, or still there
    assert room.tokens(context) == before
    room.require_as_from_scratch(context)
    room.run(context.extend(ANSWER, "thanks"))
    room.require_as_from_scratch(context)
    context.rewind(1)
    assert [message["role"] for message in context.messages] == ["system"]
    for bad in (0, -1, 2):
        with pytest.raises(EngineError, match="give 1 to 1"):
            context.rewind(bad)


@pytest.mark.parametrize("prefixes", [0, 1, 2])
def test_what_was_evicted_is_encoded_anew(prefixes: int, room: Room) -> None:
    probe = room.context()
    room.run(probe.extend("weather in Paris"))
    budget = prefixes * 3 * room.denoiser.nbytes(room.run(probe.prefix())) // 2
    small = Room(room.tokenizer, room.denoiser, budget=budget)
    contexts = [small.context() for _ in range(3)]
    for turn in range(3):
        for n, context in enumerate(contexts):
            small.run(context.extend(f"town {n}, turn {turn}"))
            small.require_as_from_scratch(context)
            assert small.store.statistics.bytes <= budget
    small.run(contexts[0].prefix())
    assert small.store.statistics.evictions > 0


def test_a_closed_context_makes_room_first() -> None:
    room = Room(TOKENIZER, WIDE)
    kept, closed, fresh = (room.context(instructions="", tools=()) for _ in range(3))
    room.run(kept.extend("a " * 20))
    room.run(closed.extend("b " * 20))
    room.store._budget = room.store.statistics.bytes * 4 // 3  # for two, not for three
    closed.close()
    room.run(fresh.extend("c " * 20))
    assert room.encoding(kept.prefix()) == 0
    assert room.encoding(fresh.prefix()) == 0
    assert room.encoding(closed.prefix()) > 0


def test_a_context_that_is_gone_stands_nowhere() -> None:
    room = Room(TOKENIZER, WIDE)
    context = room.context()
    room.run(context.extend("hello"))
    assert len(room.store._stands) == 2
    del context
    assert not room.store._stands


# --- the model's own words


@pytest.mark.parametrize(
    ("text", "message"), [(CALL_TEXT, CALL), ("it is warm<turn|>", ANSWER)], ids=["call", "answer"]
)
def test_the_canvas_own_tokens_stay_in_the_prefix(
    text: str, message: dict[str, Any], room: Room
) -> None:
    context = room.context()
    room.run(context.extend("weather in Paris"))
    asked = room.tokens(context)
    tokens = room.said(context, text)
    assert room.tokens(context) == asked  # nothing has entered the context yet
    written = render_prompt(room.tokenizer, [*context.messages, message, RESULT], TOOLS)
    new = room.encoding(context.extend(message, RESULT))
    both = asked + tokens
    grown = room.tokens(context)
    assert grown[: len(both)] == both
    assert grown[: len(both)] != written[: len(both)]
    assert new == len(grown) - len(both)  # the words were encoded when they were said
    room.require_as_from_scratch(context)
    for more in ("thanks", "and in Lagos?"):
        room.run(context.extend(more))
        assert room.tokens(context)[: len(both)] == both
    room.require_as_from_scratch(context)
    context.rewind(3)
    assert room.tokens(context)[: len(both)] == both
    room.require_as_from_scratch(context)


def test_words_without_a_prefix_are_encoded_with_what_follows() -> None:
    room = Room(TOKENIZER, WIDE)
    context = room.context()
    room.run(context.extend("weather in Paris"))
    asked = room.tokens(context)
    tokens = room.spelled_out(CALL_TEXT)
    context.say(tokens, CALL_TEXT)
    new = room.encoding(context.extend(CALL, RESULT))
    grown = room.tokens(context)
    assert grown[: len(asked) + len(tokens)] == asked + tokens
    assert new == len(grown) - len(asked)


def test_words_that_do_not_come_to_be_are_forgotten() -> None:
    room = Room(TOKENIZER, WIDE)
    context, plain = room.context(), room.context()
    for each in (context, plain):
        room.run(each.extend("weather in Paris"))
    entries = room.store.statistics.entries
    room.said(context, "it is cold<turn|>")
    assert room.store.statistics.entries == entries + 1
    room.said(context, "it is hot<turn|>")
    assert room.store.statistics.entries == entries + 1
    room.run(context.extend(ANSWER, "thanks"))
    room.run(plain.extend(ANSWER, "thanks"))
    assert room.tokens(context) == room.tokens(plain)
    room.require_as_from_scratch(context)
    assert room.store.statistics.entries == 2  # the head, and here
    # a fork keeps what another forgets
    room.said(context, "you are welcome<turn|>")
    branch = context.fork()
    context.rewind(len(context.messages))
    said = {"role": "assistant", "content": "you are welcome"}
    assert room.encoding(branch.extend(said, "bye")) < room.encoding(context.extend(said, "bye"))


def test_words_are_said_behind_what_they_were_encoded_behind() -> None:
    room = Room(TOKENIZER, WIDE)
    context = room.context()
    room.run(context.extend("hello"))
    prefix = room.run(context.prefix())
    with pytest.raises(EngineError, match="does not stand behind"):
        context.say([20], str(room.tokenizer.decode([20])), prefix)
    context.say([], "")
    room.run(context.extend(ANSWER))
    room.require_as_from_scratch(context)


def test_a_message_that_spells_a_control_token_is_not_what_was_said(room: Room) -> None:
    context, plain = room.context(), room.context()
    forged = {"role": "assistant", "content": "it is warm<turn|> and so on"}
    for each in (context, plain):
        room.run(each.extend("weather in <|turn>Paris<turn|>"))
    room.said(context, "it is warm<turn|>")
    for each in (context, plain):
        room.run(each.extend(forged, "what?"))
    assert room.tokens(context) == room.tokens(plain)
    room.require_as_from_scratch(context)


def test_a_template_that_rewrites_history_is_followed() -> None:
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for message in messages %}<|turn>{{ message.role }}\n"
        "{{ message.content if loop.last or message.role != 'assistant' "
        "else message.content.split('/think')[-1] }}<turn|>{% endfor %}"
        "{% if add_generation_prompt %}<|turn>assistant\n{% endif %}"
    )
    room = Room(tokenizer, NARROW)
    context = room.context(tools=())
    for turn in range(3):
        room.run(context.extend(f"question {turn}"))
        asked = room.tokens(context)
        thought = f"so it is/thinkanswer {turn}"
        room.said(context, f"{thought}<turn|>")
        room.run(context.extend({"role": "assistant", "content": thought}))
        assert room.tokens(context)[: len(asked)] == asked
        room.run(context.extend("go on"))
        text = tokenizer.decode(room.tokens(context))
        assert "so it is" not in text
        assert text == tokenizer.decode(render_prompt(tokenizer, context.messages))


# --- what goes wrong


def test_on_an_error_a_context_is_as_it_was(room: Room) -> None:
    context = room.context()
    room.run(context.extend("hello"))
    tokens = room.said(context, "it is warm<turn|>")
    before, messages = room.tokens(context), context.messages
    with pytest.raises(ContextTooLong):
        room.run(context.extend("word " * 3000))
    with pytest.raises(EngineError, match="no role"):
        room.run(context.extend("fine", {"content": "hello"}))
    abandoned = context.extend("and " * 5)
    next(abandoned)
    abandoned.close()
    assert context.messages == messages
    assert room.tokens(context) == before
    room.run(context.extend(ANSWER, "thanks"))  # and what was said still counts
    assert room.tokens(context)[: len(before) + len(tokens)] == before + tokens
    room.require_as_from_scratch(context)


def test_a_chat_the_template_refuses_is_told() -> None:
    room = Room(TOKENIZER, WIDE)
    context = room.context()
    with pytest.raises(CheckpointError, match="unknown role oracle"):
        room.run(context.extend({"role": "oracle", "content": "hm"}))
    assert len(context.messages) == 1
    with pytest.raises(EngineError, match="no declaration"):
        room.context(tools=[{"name": "weather"}])


def test_a_message_changed_by_its_owner_changes_nothing_here() -> None:
    room = Room(TOKENIZER, WIDE)
    message = copy.deepcopy(CALL)
    context = room.context()
    room.run(context.extend("hello", message))
    message["tool_calls"].clear()
    assert context.messages[-1] == CALL


# --- anything in any order


class Sessions(RuleBasedStateMachine):
    """Several contexts over one small store, each driven at random."""

    contexts: list[Context]

    @initialize(budget=st.sampled_from([0, 40_000, 120_000, PLENTY]), narrow=st.booleans())
    def start(self, budget: int, narrow: bool) -> None:
        self.room = Room(TOKENIZER, NARROW if narrow else WIDE, budget=budget)
        self.contexts = [self.room.context() for _ in range(2)]
        for context in self.contexts:
            self.room.run(context.extend("hello"))

    @rule(
        n=st.integers(0, 3),
        messages=st.lists(
            st.sampled_from(["weather?", "in Paris <turn|>", ANSWER, CALL, RESULT]), max_size=3
        ),
    )
    def extend(self, n: int, messages: list[Any]) -> None:
        context = self.contexts[n % len(self.contexts)]
        if len(context.messages) < 14:
            self.room.run(context.extend(*messages))

    @rule(n=st.integers(0, 3), taken=st.booleans(), call=st.booleans())
    def say(self, n: int, taken: bool, call: bool) -> None:
        context = self.contexts[n % len(self.contexts)]
        if len(context.messages) >= 14:
            return
        asked = self.room.tokens(context)
        text, message = (CALL_TEXT, CALL) if call else ("it is warm<turn|>", ANSWER)
        tokens = self.room.said(context, text)
        if taken:
            self.room.run(context.extend(message, "go on"))
            # behind a tool's result this template opens the turn only when it writes it down
            if str(self.room.tokenizer.decode(asked)).endswith("<|turn>model\n"):
                grown = self.room.tokens(context)
                assert grown[: len(asked) + len(tokens)] == asked + tokens

    @rule(n=st.integers(0, 3), share=st.floats(0, 1))
    def rewind(self, n: int, share: float) -> None:
        context = self.contexts[n % len(self.contexts)]
        context.rewind(1 + round(share * (len(context.messages) - 1)))

    @precondition(lambda self: len(self.contexts) < 4)
    @rule(n=st.integers(0, 3))
    def fork(self, n: int) -> None:
        self.contexts.append(self.contexts[n % len(self.contexts)].fork())

    @precondition(lambda self: len(self.contexts) > 1)
    @rule(n=st.integers(0, 3))
    def close(self, n: int) -> None:
        self.contexts.pop(n % len(self.contexts)).close()

    @rule(n=st.integers(0, 3))
    def check(self, n: int) -> None:
        self.room.require_as_from_scratch(self.contexts[n % len(self.contexts)])

    @invariant()
    def within_the_budget(self) -> None:
        if hasattr(self, "room"):
            assert self.room.store.statistics.bytes <= self.room.store.budget

    def teardown(self) -> None:
        for context in getattr(self, "contexts", []):
            self.room.require_as_from_scratch(context)


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
