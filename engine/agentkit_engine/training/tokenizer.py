"""The embedded checkpoint's tokenizer: byte-level BPE whose merges never leave a word part.

Letters merge within a word part; digits, spaces and punctuation stay alone. So a value has the same
tokens in the request and in its slot, and copying it is an identity on tokens. Must not know what
the texts are that it learns from.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any, cast

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from agentkit_engine.dialect import Dialect

PAD, END, BOS, FILLER, MASK, ABSENT, UNKNOWN = (
    "<pad>", "<turn|>", "<bos>", "<|fill|>", "<|mask|>", "<|none|>", "<unk>",
)  # fmt: skip
SPECIAL = [
    PAD, END, BOS, FILLER, MASK, ABSENT, UNKNOWN, "<|turn>", "<|tool>", "<tool|>",
    "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>',
]  # fmt: skip
# how the embedded checkpoint writes
DIALECT = Dialect(
    layouts=("slots", "float"),
    start="mask",
    filler=FILLER,
    absent=ABSENT,
    mask=MASK,
    pad=FILLER,
    answer_width=64,
    string_width=24,
    spoken=("call", "answer"),
)
# one word part: Weather, weather, URL; anything that is no letter stands alone
_PARTS = r"\p{Lu}?\p{Ll}+|\p{Lu}+(?!\p{Ll})|\p{L}|\P{L}"


def train_tokenizer(texts: Iterator[str], *, vocabulary: int) -> PreTrainedTokenizerFast:
    """Learns `vocabulary` tokens (special ones included) from `texts`."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PARTS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    fast: Any = PreTrainedTokenizerFast  # not annotated
    wrapped = fast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, bos_token=BOS, unk_token=UNKNOWN
    )
    wrapped.chat_template = (
        files("agentkit_engine.training").joinpath("chat_template.jinja").read_text("utf-8")
    )
    return cast(PreTrainedTokenizerFast, wrapped)
