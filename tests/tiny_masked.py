"""Masked language models small enough to be made in a test: real classes, random weights.

Three kinds of positions: learnt ones (BERT), learnt ones behind the padding's own (RoBERTa) and
rotary ones with local attention (ModernBERT); convolutions that see padding (ConvBERT); and a model
by its checkpoint's own code, as those of LLaDA and Dream are, which knows no mask of padding.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    ConvBertConfig,
    ConvBertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

Kind: TypeAlias = Literal["bert", "roberta", "modernbert", "convbert"]

VOCABULARY = 320
CONTEXT_LENGTH = 96
WINDOW = 8  # local attention of every other ModernBERT layer, tokens in all
SPECIAL = ["[PAD]", "[UNK]", "[SEP]", "[MASK]", "[CLS]"]
PAD = SPECIAL.index("[PAD]")
CHAT_TEMPLATE = (
    "[CLS]{% for message in messages %}{{ message.role }}: {{ message.content }}[SEP]{% endfor %}"
)

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "pad_token_id": PAD,
}

OWN_CODE = '''\
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput


class OwnConfig(PretrainedConfig):
    model_type = "own_diffusion"

    def __init__(self, vocab_size=320, width=16, max_sequence_length=96, **kwargs):
        self.vocab_size, self.width = vocab_size, width
        self.max_sequence_length = max_sequence_length
        super().__init__(**kwargs)


class OwnModel(PreTrainedModel):
    """Each position sees itself and the mean of all."""

    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = torch.nn.Embedding(config.vocab_size, config.width)
        self.head = torch.nn.Linear(config.width, config.vocab_size)
        self.post_init()

    def forward(self, input_ids):
        states = self.embed(input_ids)
        return MaskedLMOutput(logits=self.head(states + states.mean(1, keepdim=True)))
'''


def masked_model(kind: Kind, *, seed: int = 0) -> PreTrainedModel:
    """Random weights, large enough that context and canvas tell in the logits."""
    torch.manual_seed(seed)
    model: Any
    if kind == "bert":
        model = BertForMaskedLM(BertConfig(**_SIZES, max_position_embeddings=CONTEXT_LENGTH))
    elif kind == "roberta":  # as published, it has positions for the padding, too
        positions = CONTEXT_LENGTH + PAD + 1
        model = RobertaForMaskedLM(RobertaConfig(**_SIZES, max_position_embeddings=positions))
    elif kind == "convbert":
        sizes: dict[str, Any] = {"embedding_size": 32, "max_position_embeddings": CONTEXT_LENGTH}
        model = ConvBertForMaskedLM(ConvBertConfig(**_SIZES, **sizes))
    else:
        config: Any = ModernBertConfig  # it takes more than its annotations tell
        model = ModernBertForMaskedLM(
            config(
                **_SIZES,
                max_position_embeddings=CONTEXT_LENGTH,
                local_attention=WINDOW,
                global_attn_every_n_layers=2,
                bos_token_id=None,
                eos_token_id=None,
                cls_token_id=4,
                sep_token_id=2,
            )
        )
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, module.in_features**-0.5)
            elif isinstance(module, nn.Embedding):
                module.weight.normal_()
    made: PreTrainedModel = model.eval()
    return made


def masked_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with the special tokens of BERT, and no chat template."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(['what is the weather in Paris? {"city":"Paris"}'], trainer)
    fast: Any = PreTrainedTokenizerFast  # not annotated
    wrapped: PreTrainedTokenizerFast = fast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        cls_token="[CLS]",
    )
    return wrapped


def save_masked_checkpoint(folder: Path, kind: Kind = "bert", *, chat: bool = False) -> Path:
    """Writes a folder as `save_pretrained` does, with a chat template if asked for."""
    saved: Any = masked_model(kind)
    saved.save_pretrained(folder)
    tokenizer = masked_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE if chat else None
    tokenizer.save_pretrained(folder)
    return folder


def save_own_code_checkpoint(folder: Path) -> Path:
    """Writes the folder of a model that only its own code can run."""
    masked_tokenizer().save_pretrained(folder)
    (folder / "modeling_own.py").write_text(OWN_CODE, "utf-8")
    config = {
        "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"},
        "model_type": "own_diffusion",
        "vocab_size": VOCABULARY,
        "width": 16,
        "max_sequence_length": CONTEXT_LENGTH,
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    random = torch.Generator().manual_seed(0)
    weights = {
        "embed.weight": torch.randn(VOCABULARY, 16, generator=random),
        "head.weight": torch.randn(VOCABULARY, 16, generator=random),
        "head.bias": torch.zeros(VOCABULARY),
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
