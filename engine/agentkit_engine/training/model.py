"""A small DiffusionGemma that can be trained from scratch, and its fused training pass.

`build_model` gives the real transformers class with an initialisation that trains at small size.
`FusedPass` computes the same function as the class, with the causal encoder and several canvases in
one sequence: one pass a step instead of one a canvas. A test holds the two equal. Must not know
what is on the canvases.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion
from transformers.models.diffusion_gemma.configuration_diffusion_gemma import (
    DiffusionGemmaTextConfig,
)

_ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    "full_attention": {
        "rope_type": "proportional",
        "partial_rotary_factor": 0.25,
        "rope_theta": 10000.0,
    },
}
# the class always builds a vision tower: as small as it gets, its tokens past the vocabulary
_VISION = {
    "model_type": "gemma4_vision", "hidden_size": 16, "intermediate_size": 16,
    "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 16,
    "patch_size": 4, "position_embedding_size": 4,
}  # fmt: skip
# parts of parameter names: images are never seen, and the expert branch adds nothing
_FROZEN = ("vision", "expert", "router", "layernorm_2")


def small_config(
    *, vocabulary: int, hidden: int = 192, layers: int = 6, heads: int = 6,
    key_value_heads: int = 3, head_dim: int = 32, feed_forward: int = 512, canvas: int = 128,
    context: int = 2048,
) -> DiffusionGemmaConfig:  # fmt: skip
    """A dense text-only configuration; sliding layers see the whole context."""
    text_config: Any = DiffusionGemmaTextConfig  # it takes more than its annotations tell
    text = text_config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        head_dim=head_dim,
        global_head_dim=head_dim,
        num_global_key_value_heads=key_value_heads,
        max_position_embeddings=context,
        sliding_window=context,
        layer_types=["sliding_attention"] * (layers - 1) + ["full_attention"],
        num_experts=1,
        top_k_experts=1,
        moe_intermediate_size=8,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        rope_parameters=_ROPE,
    )
    return DiffusionGemmaConfig(
        text_config=text,
        vision_config=_VISION,
        canvas_length=canvas,
        boi_token_id=vocabulary + 1,
        eoi_token_id=vocabulary + 2,
        image_token_id=vocabulary + 3,
    )


def build_model(config: DiffusionGemmaConfig, *, seed: int = 0) -> DiffusionGemmaForBlockDiffusion:
    """The transformers class with variance-preserving initial weights.

    The library's own initialisation (std 0.02, attention scale 1.0) does not train at this size.
    """
    torch.manual_seed(seed)
    made: Any = DiffusionGemmaForBlockDiffusion  # its constructor is not annotated
    model, text = made(config), cast(DiffusionGemmaTextConfig, config.text_config)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, module.in_features**-0.5)
        model.lm_head.weight.normal_(0, text.hidden_size**-0.5)
        for layer in model.model.decoder.layers:
            for norm in (layer.self_attn.q_norm, layer.self_attn.k_norm):
                norm.weight.fill_(layer.self_attn.head_dim**-0.25)
            for norm in (layer.post_attention_layernorm, layer.post_feedforward_layernorm):
                norm.weight.fill_((2 * text.num_hidden_layers) ** -0.5)
            layer.post_feedforward_layernorm_2.weight.zero_()  # so the expert branch adds nothing
    freeze(model)
    return cast(DiffusionGemmaForBlockDiffusion, model)


def freeze(model: DiffusionGemmaForBlockDiffusion) -> None:
    """Says which parameters train: all that text goes through."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(part in name for part in _FROZEN))


class FusedPass(nn.Module):
    """Encoder tokens and canvases as one sequence through the shared stack (dense models only)."""

    def __init__(self, model: DiffusionGemmaForBlockDiffusion) -> None:
        super().__init__()
        self.model: Any = model  # its parts are of types that torch does not tell
        self.text = cast(DiffusionGemmaTextConfig, model.config.text_config)
        self._kinds = list(self.text.layer_types or ())

    def forward(
        self,
        encoded: Tensor,
        canvas: Tensor,
        positions: Tensor,
        mask: Tensor,
        soft: Tensor | None = None,
    ) -> Tensor:
        """Hidden states of every position.

        Args:
            encoded: [B, E] int64, tokens the encoder reads.
            canvas: [B, N] int64, the canvases one after the other.
            positions: [B, E + N] int64.
            mask: [B, 1, E + N, E + N] bool, True where a query (row) may look.
            soft: [B, N, D] self-conditioning embeddings, none for zeros.

        Returns:
            [B, E + N, D].
        """
        decoder, weight = self.model.model.decoder, self.model.lm_head.weight
        dtype = torch.bfloat16 if torch.is_autocast_enabled(weight.device.type) else weight.dtype
        scale = self.text.hidden_size**0.5
        context = F.embedding(encoded, weight).to(dtype) * scale
        block = F.embedding(canvas, weight).to(dtype) * scale
        if soft is not None:
            conditioner = decoder.self_conditioning
            signal = _rms(soft.to(dtype), conditioner.pre_norm.weight)
            gate = F.gelu(conditioner.gate_proj(signal), approximate="tanh")
            block = block + conditioner.down_proj(gate * conditioner.up_proj(signal))
        hidden = torch.cat((context, _rms(block)), 1)
        rotations = self._rotations(positions, dtype)
        for index, layer in enumerate(decoder.layers):
            hidden = self._layer(layer, hidden, rotations[self._kinds[index]], mask)
        return _rms(hidden, decoder.norm.weight)

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., V] float32, softly capped as the class does."""
        cap = self.text.final_logit_softcapping
        return torch.tanh(F.linear(hidden, self.model.lm_head.weight).float() / cap) * cap

    def _rotations(self, positions: Tensor, dtype: torch.dtype) -> dict[str, tuple[Tensor, Tensor]]:
        rotary = self.model.model.decoder.rotary_emb
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for kind in set(self._kinds):
            angles = positions[..., None].float() * getattr(rotary, f"{kind}_inv_freq").float()
            angles = torch.cat((angles, angles), -1)[:, None]
            found[kind] = angles.cos().to(dtype), angles.sin().to(dtype)
        return found

    def _layer(
        self, layer: Any, hidden: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor
    ) -> Tensor:
        attention = layer.self_attn
        batch, length, _ = hidden.shape

        def heads(x: Tensor) -> Tensor:
            return x.view(batch, length, -1, attention.head_dim).transpose(1, 2)

        x = _rms(hidden, layer.input_layernorm.weight)
        keys = heads(attention.k_proj(x))
        # full-attention layers have no value projection: values are the keys
        values = _rms(heads(attention.v_proj(x)) if attention.v_proj is not None else keys)
        query = _rotate(_rms(heads(attention.q_proj(x)), attention.q_norm.weight), rotation)
        keys = _rotate(_rms(keys, attention.k_norm.weight), rotation)
        groups = query.shape[1] // keys.shape[1]
        keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
        mixed = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=1.0)
        mixed = attention.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        hidden = hidden + _rms(mixed, layer.post_attention_layernorm.weight)
        x, mlp = _rms(hidden, layer.pre_feedforward_layernorm.weight), layer.mlp
        x = mlp.down_proj(F.gelu(mlp.gate_proj(x), approximate="tanh") * mlp.up_proj(x))
        x = _rms(x, layer.post_feedforward_layernorm_1.weight)
        return hidden + _rms(x, layer.post_feedforward_layernorm.weight)


def _rms(x: Tensor, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    normed = x.float()
    normed = normed * torch.rsqrt(normed.pow(2).mean(-1, keepdim=True) + eps)
    return (normed if weight is None else normed * weight.float()).to(x.dtype)


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotation
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin
