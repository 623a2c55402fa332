"""The slot layout's own tokens in a tokenizer that has none: two of its reserved ones.

Knows tokenizers and dialects. Must not know models.
"""

from __future__ import annotations

import re
from typing import Any

from agentkit_engine.dialect import Dialect
from agentkit_engine.errors import CheckpointError

_RESERVED = re.compile(r"<unused(\d+)>")
_ANSWER_WIDTH = 64


def slot_dialect(tokenizer: Any, dialect: Dialect) -> tuple[Dialect, list[int]]:
    """What a checkpoint writes once it is taught slots, and the ids of the tokens it must learn.

    A dialect that knows slots already stays as it is and has nothing to learn. Otherwise the
    tokenizer's first two reserved tokens become the filler and the marker of absence; where they
    are not among its special tokens they are added, which changes no id. The noise stays uniform:
    that is what the real model knows.

    Raises:
        CheckpointError: the tokenizer has fewer than two reserved tokens.
    """
    if "slots" in dialect.layouts:
        return dialect, []
    numbers = sorted(
        int(found[1]) for token in tokenizer.get_vocab() if (found := _RESERVED.fullmatch(token))
    )
    if len(numbers) < 2:
        raise CheckpointError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no two reserved tokens <unusedN> for "
            "the filler and for what is absent; say in an agentkit.json which tokens it has for "
            "them, with 'slots' among its layouts"
        )
    filler, absent = (f"<unused{number}>" for number in numbers[:2])
    ids = [int(tokenizer.convert_tokens_to_ids(token)) for token in (filler, absent)]
    tokenizer.add_tokens([filler, absent], special_tokens=True)
    taught = Dialect(
        syntax=dialect.syntax,
        layouts=("slots", "float"),
        start="uniform",
        filler=filler,
        absent=absent,
        call_open=dialect.call_open,
        call_close=dialect.call_close,
        end=dialect.end,
        pad=filler,  # the embedding's own padding token learns nothing from where it stands
        answer_width=_ANSWER_WIDTH,
        spoken=("call", "answer"),
    )
    taught.resolve(tokenizer)
    return taught, ids
