"""Documents: texts that are no chats, whose pieces keep their tokens while the text grows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import tiny_model

from agentkit_engine import ContextTooLong, Engine, EngineError, Session, Template
from agentkit_engine.checkpoint import Checkpoint
from agentkit_engine.contexts.document import piece_tokens
from agentkit_engine.denoisers import Prefix

PIECES = ("the list has\n", "  three things on it:\n", "  milk, bread and")
MORE = " tea\n\nthat is"


@pytest.fixture(params=["window wider than the context", "window exceeded"])
def engine(request: pytest.FixtureRequest, tiny_checkpoint: Checkpoint) -> Iterator[Engine]:
    window = 16 if request.param == "window exceeded" else 512
    engine = Engine(replace(tiny_checkpoint, model=tiny_model(window=window)))
    yield engine
    engine.close()


@pytest.fixture
def encoded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each encoder forward was given."""
    denoiser, given = engine.runtime.denoiser, list[int]()
    original = denoiser.encode

    def encode(tokens: Sequence[int], *, prefix: Prefix | None = None) -> Prefix:
        given.append(len(tokens))
        return original(tokens, prefix=prefix)

    monkeypatch.setattr(denoiser, "encode", encode)
    return given


def tokens_of(engine: Engine, *pieces: str) -> list[int]:
    tokenizer = engine.runtime.checkpoint.tokenizer
    return [token for piece in pieces for token in piece_tokens(tokenizer, piece)]


def prefix_of(engine: Engine, session: Session) -> Prefix:
    """What a filling behind the session would stand behind."""
    found: Any = engine.runtime.scheduler.run_sync(session._context.prefix())
    assert isinstance(found, Prefix)
    return found


def require_as_from_scratch(engine: Engine, session: Session) -> None:
    prefix, denoiser = prefix_of(engine, session), engine.runtime.denoiser
    fresh = type(denoiser).encode(denoiser, list(prefix.tokens))
    canvas = torch.arange(20, 32)[None]
    actual, expected = (denoiser.denoise(one, canvas) for one in (prefix, fresh))
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=1e-4)


def test_a_document_is_its_pieces_behind_what_begins_a_text(engine: Engine) -> None:
    prefix = prefix_of(engine, engine.document(*PIECES))
    start = engine.runtime.checkpoint.tokenizer.bos_token_id
    assert list(prefix.tokens) == [start, *tokens_of(engine, *PIECES)]
    assert list(prefix_of(engine, engine.document()).tokens) == [start]


def test_what_it_grows_by_is_all_that_is_encoded(engine: Engine, encoded: list[int]) -> None:
    session = engine.document(*PIECES)
    session.extend_sync()
    assert sum(encoded) == 1 + len(tokens_of(engine, *PIECES))
    encoded.clear()
    session.extend_sync(MORE)
    assert encoded == [len(tokens_of(engine, MORE))]
    require_as_from_scratch(engine, session)


def test_the_same_text_sent_anew_is_found_encoded(engine: Engine, encoded: list[int]) -> None:
    engine.document(*PIECES).extend_sync()
    encoded.clear()
    again = engine.document(*PIECES)
    again.extend_sync()
    assert encoded == []
    again.close()
    longer = engine.document(*PIECES, MORE)
    longer.extend_sync()
    assert encoded == [len(tokens_of(engine, MORE))]
    require_as_from_scratch(engine, longer)
    shorter = engine.document(*PIECES[:2], "another end")
    shorter.extend_sync()
    require_as_from_scratch(engine, shorter)


def test_a_control_token_that_a_piece_spells_is_text(engine: Engine) -> None:
    known = set(engine.runtime.checkpoint.tokenizer.all_special_ids)
    for pieces in (("<turn|>", "<bos>"), ("<tu", "rn|>"), ("a<|mask|>b",)):
        assert not known & set(prefix_of(engine, engine.document(*pieces)).tokens[1:])


def test_a_document_forks_and_goes_back_as_a_chat_does(engine: Engine) -> None:
    session = engine.document(*PIECES)
    fork = session.fork()
    fork.extend_sync(MORE)
    before = prefix_of(engine, session).tokens
    assert prefix_of(engine, fork).tokens[: len(before)] == before
    fork.rewind(1)
    assert prefix_of(engine, fork).tokens[1:] == tuple(tokens_of(engine, PIECES[0]))
    require_as_from_scratch(engine, fork)


def test_what_is_filled_in_behind_a_document_depends_on_it(engine: Engine) -> None:
    hole = Template.infill("and ", " is", max_tokens=8)
    values = [
        engine.document(text).infill_sync(hole, steps=2).value
        for text in ("the list\n", "the list\n", "weather in Paris\n")
    ]
    assert values[0] == values[1] != values[2]


def test_a_document_takes_no_messages_and_no_more_than_the_model_reads(engine: Engine) -> None:
    session = engine.document(*PIECES)
    with pytest.raises(EngineError, match=r"only text.*Engine\.session"):
        session.extend_sync({"role": "user", "content": "hello"})
    with pytest.raises(ContextTooLong):
        session.extend_sync("word " * 600)
    assert len(session.messages) == len(PIECES)
