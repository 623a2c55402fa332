"""A DiffusionGemma checkpoint small enough to be made in a test: the real class, random weights.

The model is the one transformers ships, the tokenizer a real byte-level BPE with Gemma's control
tokens, the chat template written as Gemma 4 writes turns, calls and results.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    DiffusionGemmaConfig,
    DiffusionGemmaForBlockDiffusion,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.diffusion_gemma.configuration_diffusion_gemma import (
    DiffusionGemmaTextConfig,
)

from agentkit_engine.dialect import Dialect

CANVAS_LENGTH = 48
CONTEXT_LENGTH = 512
VOCABULARY = 448

DIALECT = Dialect(
    syntax="gemma",
    layouts=("slots", "float"),
    start="mask",
    filler="<|fill|>",
    absent="<|none|>",
    mask="<|mask|>",
    answer_width=24,
    string_width=12,
)

# A tool as chat templates take it.
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "the weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CONTROL_TOKENS = [
    "<pad>", "<turn|>", "<bos>", "<unk>", "<|fill|>", "<|none|>", "<|mask|>", "<|turn>", "<|tool>",
    "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>',
]  # fmt: skip

CHAT_TEMPLATE = """\
{%- macro written(value) -%}
{%- if value is string -%}<|"|>{{ value }}<|"|>
{%- elif value is mapping -%}
{{ '{' }}{% for k, v in value.items() %}{{ k }}:{{ written(v) }}{{ ',' if not loop.last }}{% endfor %}{{ '}' }}
{%- else -%}{{ value | tojson }}
{%- endif -%}
{%- endmacro -%}
{{ bos_token }}
{%- if tools -%}
<|turn>system
{% for tool in tools -%}
<|tool>{{ tool.function.name }}:{{ tool.function.description }}{{ tool.function.parameters | tojson }}<tool|>
{%- endfor -%}
<turn|>
{% endif -%}
{%- for message in messages -%}
{%- if message.role == 'tool' -%}
<|tool_response>{{ message.content }}<tool_response|>
{%- elif message.role == 'assistant' -%}
<|turn>model
{% for call in message.tool_calls or [] -%}
<|tool_call>call:{{ call.function.name }}{{ written(call.function.arguments) }}<tool_call|>
{%- endfor -%}
{{ message.content }}{{ '<turn|>\n' if message.content }}
{%- elif message.role in ('user', 'system') -%}
<|turn>{{ message.role }}
{{ message.content }}<turn|>
{% else -%}
{{ raise_exception('unknown role ' + message.role) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and messages[-1].role != 'tool' -%}
<|turn>model
{% endif -%}
"""  # noqa: E501

_TEXTS = [
    "add buy milk to my list, please, and remind me tomorrow at 9 o'clock",
    "what is the weather in Paris? is it warmer than in Berlin or in Lagos?",
    'call weather city:"Lagos" days:3 unit:"celsius" true false null',
    "I have no tool for that. The list has three things on it: milk, bread and tea.",
]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A fast byte-level BPE tokenizer of `VOCABULARY` tokens at most."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=CONTROL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    fast: Any = PreTrainedTokenizerFast  # not annotated
    wrapped = fast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<turn|>",
        bos_token="<bos>",
        unk_token="<unk>",
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return cast(PreTrainedTokenizerFast, wrapped)


def tiny_config(*, window: int = CONTEXT_LENGTH, experts: int = 1) -> DiffusionGemmaConfig:
    """Three layers of width 32; the last attends fully, the others within `window` tokens."""
    text_config: Any = DiffusionGemmaTextConfig  # it takes more than its annotations tell
    text = text_config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_global_key_value_heads=2,
        head_dim=8,
        global_head_dim=8,
        max_position_embeddings=CONTEXT_LENGTH,
        sliding_window=window,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        num_experts=experts,
        top_k_experts=min(experts, 2),
        moe_intermediate_size=16,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    # None would silently build a vision tower of 167 M parameters
    vision = {
        "model_type": "gemma4_vision",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "patch_size": 4,
        "position_embedding_size": 4,
    }
    return DiffusionGemmaConfig(
        text_config=text,
        vision_config=vision,
        canvas_length=CANVAS_LENGTH,
        # ids of image tokens must not be those of words
        boi_token_id=VOCABULARY + 1,
        eoi_token_id=VOCABULARY + 2,
        image_token_id=VOCABULARY + 3,
    )


def tiny_model(
    *, window: int = CONTEXT_LENGTH, experts: int = 1, seed: int = 0
) -> DiffusionGemmaForBlockDiffusion:
    """Random weights, large enough that context and canvas tell in the logits."""
    torch.manual_seed(seed)
    model: Any = DiffusionGemmaForBlockDiffusion(tiny_config(window=window, experts=experts))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, module.in_features**-0.5)
        model.lm_head.weight.normal_(0, model.lm_head.in_features**-0.5)  # the embeddings, too
        for name, weight in model.named_parameters():
            if name.endswith(("q_norm.weight", "k_norm.weight")):
                weight.fill_(weight.numel() ** -0.25)  # the attention scale is 1.0
    return cast(DiffusionGemmaForBlockDiffusion, model.eval())


def save_tiny_checkpoint(
    folder: Path,
    *,
    model: DiffusionGemmaForBlockDiffusion | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    dialect: Dialect | None = DIALECT,
) -> Path:
    """Writes a whole checkpoint folder, bf16 as they are shipped; no dialect: as a stock one."""
    saved: Any = copy.deepcopy(model) if model else tiny_model()
    saved.to(torch.bfloat16).save_pretrained(folder)
    (tokenizer or tiny_tokenizer()).save_pretrained(folder)
    if dialect is not None:
        (folder / "agentkit.json").write_text(dialect.to_json(), encoding="utf-8")
    return folder
