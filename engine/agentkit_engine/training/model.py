"""A small DiffusionGemma that can be trained from scratch, and its fused training pass.

`build_model` gives the real transformers class with an initialisation that trains at small size.
`FusedPass` computes the same function as the class, with the causal encoder of several
conversations and all their canvases in one pass. A test holds the two equal. Must not know
what is on the canvases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion
from transformers.models.diffusion_gemma.configuration_diffusion_gemma import (
    DiffusionGemmaTextConfig,
)

_ROPE = {
    # heads this small need most of their dimensions to find like contents wherever they stand
    "sliding_attention": {
        "rope_type": "proportional",
        "partial_rotary_factor": 0.35,
        "rope_theta": 10000.0,
    },
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


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch as the fused pass sees it: G trunks of E positions, R rows of L positions.

    A row holds the own parts of one scene's conversations, and their canvases.

    Attributes:
        trunk: [G, E] int64, padded behind.
        group: [R] int64, the trunk of each row.
        tokens: [R, L] int64.
        canvas: [R, L] bool, which positions are on a canvas; the encoder reads the others.
        positions: [R, L] int64, places in their conversation.
        mask: [R, 1, L, E + L] bool, True where a position (of the row) may look.
    """

    trunk: Tensor
    group: Tensor
    tokens: Tensor
    canvas: Tensor
    positions: Tensor
    mask: Tensor


def small_config(
    *, vocabulary: int, hidden: int = 192, layers: int = 6, heads: int = 6,
    key_value_heads: int = 3, head_dim: int = 32, feed_forward: int = 512, canvas: int = 256,
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


@dataclass(frozen=True, slots=True)
class _About:
    """What a layer must know besides hidden states; pairs are for the trunk and for the rows."""

    rotations: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    seen: tuple[Tensor, Tensor]
    group: Tensor
    last: bool


@dataclass(frozen=True, slots=True)
class Attended:
    """What one layer looks with, and for, in the heads that share the first keys.

    Attributes:
        trunk: [G, heads, E, K], queries of the trunks.
        rows: [R, heads, L, K], queries of the rows.
        keys: [G, E, K], of the trunks.
    """

    trunk: Tensor
    rows: Tensor
    keys: Tensor


class FusedPass(nn.Module):
    """Encoder tokens and canvases as one sequence through the shared stack (dense models only).

    What conversations share (the trunk: tools and instructions) is computed once for all of them.
    """

    def __init__(self, model: DiffusionGemmaForBlockDiffusion) -> None:
        super().__init__()
        self.model: Any = model  # its parts are of types that torch does not tell
        self.text = cast(DiffusionGemmaTextConfig, model.config.text_config)
        self._kinds = list(self.text.layer_types or ())
        self._norm: Any = _rms

    def compile_parts(self, *, whole: bool) -> None:
        """Has the `whole` pass compiled, or only its norms: the rest gains nothing on a CPU."""
        if whole:
            self.attended = torch.compile(  # type: ignore[method-assign]
                self.attended, dynamic=True
            )
        else:
            compiler: Any = torch.compile  # not annotated
            # once for each width and for each mode of gradients
            torch._dynamo.config.recompile_limit = 64  # pyright: ignore[reportPrivateUsage]
            flat = compiler(_rms, dynamic=True)

            def norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
                # all of one rank, so that it is compiled once
                found: Tensor = flat(x.reshape(-1, x.shape[-1]), weight)
                return found.view(x.shape)

            self._norm = norm

    def forward(self, seen: Seen, soft: Tensor | None = None) -> Tensor:
        """Hidden states of every position of the rows.

        Args:
            seen: the batch as the model sees it.
            soft: [R, L, D] self-conditioning embeddings of canvas positions; none for zeros.

        Returns:
            [R, L, D].
        """
        return self.attended(seen, soft)[0]

    def attended(
        self, seen: Seen, soft: Tensor | None = None
    ) -> tuple[Tensor, tuple[Attended, ...]]:
        """The same, and what the four layers before the last attend with."""
        decoder, weight = self.model.model.decoder, self.model.lm_head.weight
        dtype = torch.bfloat16 if torch.is_autocast_enabled(weight.device.type) else weight.dtype
        scale = self.text.hidden_size**0.5
        trunk = F.embedding(seen.trunk, weight).to(dtype) * scale
        rows = F.embedding(seen.tokens, weight).to(dtype) * scale
        block = rows
        if soft is not None:
            conditioner = decoder.self_conditioning
            signal = self._norm(soft.to(dtype), conditioner.pre_norm.weight)
            gate = F.gelu(conditioner.gate_proj(signal), approximate="tanh")
            block = rows + conditioner.down_proj(gate * conditioner.up_proj(signal))
        rows = torch.where(seen.canvas[..., None], self._norm(block), rows)
        places = torch.arange(trunk.shape[1], device=trunk.device)[None]
        rotations = {
            kind: (self._rotation(kind, places, dtype), self._rotation(kind, seen.positions, dtype))
            for kind in set(self._kinds)
        }
        length, last = trunk.shape[1], len(self._kinds) - 1
        causal = torch.ones(length, length, dtype=torch.bool, device=trunk.device).tril()
        heads = self.text.num_attention_heads, self.text.num_key_value_heads
        biases = (
            _bias(causal.expand(len(trunk), 1, -1, -1), dtype, *heads),
            _bias(seen.mask, dtype, *heads),
        )
        looks: list[Attended] = []
        for index, layer in enumerate(decoder.layers):
            about = _About(rotations[self._kinds[index]], biases, seen.group, index == last)
            trunk, rows, look = self._layer(layer, trunk, rows, about)
            looks.append(look)
        return self._norm(rows, decoder.norm.weight), tuple(looks[-5:-1])

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., V] float32, softly capped as the class does."""
        cap = self.text.final_logit_softcapping
        return torch.tanh(F.linear(hidden, self.model.lm_head.weight).float() / cap) * cap

    def _rotation(self, kind: str, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        rotary = self.model.model.decoder.rotary_emb
        angles = positions[..., None].float() * getattr(rotary, f"{kind}_inv_freq").float()
        angles = torch.cat((angles, angles), -1)[:, None]
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def _layer(
        self, layer: Any, trunk: Tensor, rows: Tensor, about: _About
    ) -> tuple[Tensor, Tensor, Attended]:
        norm, attention = layer.input_layernorm.weight, layer.self_attn
        for_trunk, for_rows = about.rotations
        query, keys, values = self._heads(attention, self._norm(rows, norm), for_rows)
        trunk_query, *known = self._heads(attention, self._norm(trunk, norm), for_trunk)
        alike = query.shape[1] // keys.shape[1]
        look = Attended(trunk_query[:, :alike], query[:, :alike], known[0][:, 0])
        keys, values = (
            torch.cat((shared[about.group], own), 2)
            for shared, own in zip(known, (keys, values), strict=True)
        )
        rows = self._rest(layer, rows, _attend(query, keys, values, about.seen[1]))
        if about.last:  # of the last layer, rows need what the trunk shows, and nobody the trunk
            return trunk, rows, look
        mixed = _attend(trunk_query, known[0], known[1], about.seen[0])
        return self._rest(layer, trunk, mixed), rows, look

    def _heads(
        self, attention: Any, x: Tensor, rotation: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values: [B, heads, T, head dimension]."""
        batch, length, _ = x.shape

        def heads(y: Tensor) -> Tensor:
            return y.view(batch, length, -1, attention.head_dim).transpose(1, 2)

        keys = heads(attention.k_proj(x))
        # full-attention layers have no value projection: values are the keys
        values = self._norm(heads(attention.v_proj(x)) if attention.v_proj is not None else keys)
        query = _rotate(self._norm(heads(attention.q_proj(x)), attention.q_norm.weight), rotation)
        return query, _rotate(self._norm(keys, attention.k_norm.weight), rotation), values

    def _rest(self, layer: Any, hidden: Tensor, mixed: Tensor) -> Tensor:
        """What a layer does with what its attention gathered."""
        batch, length, _ = hidden.shape
        mixed = layer.self_attn.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        hidden = hidden + self._norm(mixed, layer.post_attention_layernorm.weight)
        x, mlp = self._norm(hidden, layer.pre_feedforward_layernorm.weight), layer.mlp
        x = mlp.down_proj(F.gelu(mlp.gate_proj(x), approximate="tanh") * mlp.up_proj(x))
        x = self._norm(x, layer.post_feedforward_layernorm_1.weight)
        return hidden + self._norm(x, layer.post_feedforward_layernorm.weight)


def _attend(query: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
    """Attention with the scale of the class, several query heads to a head of keys.

    Args:
        query: [B, H, L, K].
        keys, values: [B, heads of keys, E, K].
        seen: as `_bias` gives it.

    Returns:
        [B, H, L, K].
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(
            query, keys, values, attn_mask=seen, scale=1.0, enable_gqa=True
        )
    # torch's fused attention takes twice as long on a CPU as the plain products in bfloat16
    batch, shared, length, size = keys.shape
    grouped = query.reshape(batch * shared, -1, size)
    weights = torch.baddbmm(seen, grouped, keys.reshape(-1, length, size).transpose(1, 2))
    mixed = weights.softmax(-1) @ values.reshape(-1, length, size)
    return mixed.view(query.shape)


def _bias(mask: Tensor, dtype: torch.dtype, heads: int, shared: int) -> Tensor:
    """What is added to the products of queries and keys so that only what may be seen counts.

    Args:
        mask: [B, 1, L, E] bool.
        heads: query heads.
        shared: heads of keys.

    Returns:
        [B * shared, heads / shared * L, E] on a CPU; elsewhere the mask itself.
    """
    if mask.device.type != "cpu":
        return mask
    found = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, float("-inf"))
    batch, _, length, width = mask.shape
    return found.expand(batch, heads, length, width).reshape(batch * shared, -1, width)


def _rms(x: Tensor, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    normed = x.float()
    normed = normed * torch.rsqrt(normed.pow(2).mean(-1, keepdim=True) + eps)
    return (normed if weight is None else normed * weight.float()).to(x.dtype)


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotation
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin
