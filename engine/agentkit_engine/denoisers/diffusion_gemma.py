"""DiffusionGemma as transformers has it (`DiffusionGemmaForBlockDiffusion`), behind `Denoiser`.

Knows that class, its cache and its masks. Must not know tokenizers, templates or automata.

All masks are written here and handed over as a dict of 4-D additive masks. The model's own defaults
would let a canvas see everything in the cache, and it builds its encoder masks twice a call.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from transformers import DiffusionGemmaForBlockDiffusion, DynamicCache

from agentkit_engine.denoisers.base import Prefix
from agentkit_engine.errors import ContextTooLong, EngineError

Masks: TypeAlias = dict[str, torch.Tensor | None]

_FULL = "full_attention"
_SLIDING = "sliding_attention"
# An encoder mask is dense, chunk x context: in chunks a long prompt needs linear memory.
_CHUNK = 2048
# With more of the batch than this being no padding, a batch is cheaper than one packed sequence,
# whose attention is as wide as all its rows together.
_DENSE = 0.8
# The implementations of attention that add a 4-D mask to the scores.
_ATTENTION = ("sdpa", "eager")


class DiffusionGemmaDenoiser:
    """A `Denoiser` over a loaded DiffusionGemma model, on the device and in the dtype it has."""

    def __init__(self, model: DiffusionGemmaForBlockDiffusion) -> None:
        config: Any = model.config
        text: Any = config.text_config
        attention = text._attn_implementation
        if attention not in _ATTENTION:
            raise EngineError(
                f"attention implementation {attention!r} takes no explicit masks; "
                f"load the model with attn_implementation={_ATTENTION[0]!r}"
            )
        self._model = model.eval()
        self._text = text
        self._window = int(text.sliding_window)
        self.vocab_size = int(text.vocab_size)
        self.canvas_length = int(config.canvas_length)
        self.context_length = int(text.max_position_embeddings)

    @property
    def device(self) -> torch.device:
        return self._model.device

    @torch.inference_mode()
    def encode(self, tokens: Sequence[int], *, prefix: Prefix | None = None) -> Prefix:
        """Encodes `tokens` behind `prefix`, see `Denoiser.encode`."""
        if not tokens:
            if prefix is None:
                raise EngineError("an empty context cannot be encoded; give at least one token")
            return prefix
        past = () if prefix is None else prefix.tokens
        total = past + tuple(tokens)
        self._require_room(len(total))
        cache = DynamicCache(config=self._text) if prefix is None else _share(_cache_of(prefix))
        for start in range(len(past), len(total), _CHUNK):
            chunk = total[start : start + _CHUNK]
            positions = torch.arange(start, start + len(chunk), device=self.device)[None]
            self._model.model.encoder(
                input_ids=torch.tensor([chunk], device=self.device),
                attention_mask=self._causal_masks(start, len(chunk)),
                position_ids=positions,
                past_key_values=cache,
            )
        _release(cache)
        return Prefix(total, cache)

    @torch.inference_mode()
    def rewind(self, prefix: Prefix, length: int) -> Prefix | None:
        """The first `length` tokens of `prefix`, see `Denoiser.rewind`."""
        if length == prefix.length:
            return prefix
        if not 0 < length < prefix.length or self._kept(prefix.length) < prefix.length:
            return None
        cache = _share(_cache_of(prefix))
        layers: list[Any] = cache.layers
        for layer in layers:
            layer.keys, layer.values = layer.keys[:, :, :length], layer.values[:, :, :length]
            if hasattr(layer, "cumulative_length"):  # what a sliding layer has seen in all
                layer.cumulative_length = length
        return Prefix(prefix.tokens[:length], cache)

    @torch.inference_mode()
    def denoise(
        self,
        prefix: Prefix,
        canvas: torch.Tensor,
        *,
        attend: torch.Tensor | None = None,
        previous: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One decoder forward over all rows, see `Denoiser.denoise`."""
        width = canvas.shape[1]
        if width > self.canvas_length:
            raise EngineError(
                f"a canvas of {width} tokens is wider than the model's {self.canvas_length}; "
                "fill fewer or narrower slots at a time"
            )
        self._require_room(prefix.length + width)
        canvas = canvas.to(self.device)
        if attend is None or bool(attend.all()):
            return self._denoise_rows(prefix, canvas, None, previous)
        attend = attend.to(self.device)
        if int(attend.sum()) > _DENSE * attend.numel():
            return self._denoise_rows(prefix, canvas, attend, previous)
        return self._denoise_packed(prefix, canvas, attend, previous)

    def _denoise_rows(
        self,
        prefix: Prefix,
        canvas: torch.Tensor,
        attend: torch.Tensor | None,
        previous: torch.Tensor | None,
    ) -> torch.Tensor:
        """Rows as a batch, padding computed and hidden."""
        rows, width = canvas.shape
        positions = torch.arange(prefix.length, prefix.length + width, device=self.device)[None]
        masks = self._canvas_masks(prefix.length, attend)
        cache = _share(_cache_of(prefix), rows=rows)
        return self._decode(cache, canvas, masks, positions, previous)

    def _denoise_packed(
        self,
        prefix: Prefix,
        canvas: torch.Tensor,
        attend: torch.Tensor,
        previous: torch.Tensor | None,
    ) -> torch.Tensor:
        """Rows of unlike widths in one sequence that sees the prefix once; no padding is computed.

        The same function as a batch: positions start anew in each row, and a row sees only itself.
        """
        row, column = attend.nonzero(as_tuple=True)
        same = self._additive(row[:, None] == row[None])

        def over(keys: int) -> torch.Tensor:
            return torch.nn.functional.pad(same, (keys, 0))[None, None]

        past = prefix.length
        masks: Masks = {_FULL: over(past), _SLIDING: over(self._kept(past))}
        guess = None if previous is None else previous[row, column][None]
        positions = (past + column)[None]
        cache = _share(_cache_of(prefix))
        found = self._decode(cache, canvas[row, column][None], masks, positions, guess)
        logits = found.new_zeros((*canvas.shape, found.shape[-1]))
        logits[row, column] = found[0]
        return logits

    def _decode(
        self,
        cache: DynamicCache,
        canvas: torch.Tensor,
        masks: Masks,
        positions: torch.Tensor,
        previous: torch.Tensor | None,
    ) -> torch.Tensor:
        output = self._model(
            past_key_values=cache,
            decoder_input_ids=canvas,
            decoder_attention_mask=masks,
            decoder_position_ids=positions,
            self_conditioning_logits=previous,
        )
        logits: torch.Tensor = output.logits
        return logits

    def _require_room(self, needed: int) -> None:
        if needed > self.context_length:
            raise ContextTooLong(needed=needed, available=self.context_length)

    def _kept(self, past: int) -> int:
        """How many of `past` encoded tokens a sliding layer still holds."""
        return min(past, self._window - 1)

    def _causal_masks(self, past: int, new: int) -> Masks:
        """Masks for encoding `new` tokens behind `past`: [1, 1, new, keys held + new]."""
        if new == 1:  # it may see every key that a layer still holds, whatever the layer
            return {_FULL: None, _SLIDING: None}
        query = torch.arange(past, past + new, device=self.device)[:, None]
        key = torch.arange(past + new, device=self.device)[None]
        causal = key <= query
        near = causal & (query - key < self._window)
        return {
            _FULL: self._additive(causal)[None, None],
            _SLIDING: self._additive(near[:, past - self._kept(past) :])[None, None],
        }

    def _canvas_masks(self, past: int, attend: torch.Tensor | None) -> Masks:
        """Masks for rows that see the whole prefix and their own `attend`: [B, 1, W, keys + W].

        None is "everything there is", and there is nothing but the prefix and the row itself.
        """
        if attend is None:
            return {_FULL: None, _SLIDING: None}
        width = attend.shape[1]

        def over(keys: int) -> torch.Tensor:
            visible = torch.nn.functional.pad(attend, (keys, 0), value=True)
            return self._additive(visible)[:, None, None].expand(-1, -1, width, -1)

        return {_FULL: over(past), _SLIDING: over(self._kept(past))}

    def _additive(self, visible: torch.Tensor) -> torch.Tensor:
        """0 where visible, else the lowest number there is: the probability is exactly 0."""
        dtype = self._model.dtype
        blocked = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        return blocked.masked_fill_(~visible, torch.finfo(dtype).min)


def _cache_of(prefix: Prefix) -> DynamicCache:
    if not isinstance(prefix.memory, DynamicCache):
        raise EngineError("this prefix was encoded by a denoiser of another family; encode it anew")
    return prefix.memory


def _share(cache: DynamicCache, *, rows: int = 1) -> DynamicCache:
    """A cache of its own over the same tensors, seen by `rows` rows (views, nothing is copied).

    A dynamic layer grows by concatenation into new tensors, so the given cache never changes.
    """
    shared = copy.copy(cache)
    shared.layers = [copy.copy(layer) for layer in cache.layers]
    if rows > 1:
        for layer in _layers(shared):
            layer.keys = layer.keys.expand(rows, -1, -1, -1)
            layer.values = layer.values.expand(rows, -1, -1, -1)
    return shared


def _layers(cache: DynamicCache) -> list[Any]:
    """Its layers, all of them filled: `.keys` and `.values` are [B, heads, keys, head_dim]."""
    return list(cache.layers)


def _release(cache: DynamicCache) -> None:
    """Lets go of what left a sliding layer's window, of which the layer still holds the storage."""
    for layer in _layers(cache):
        needed = layer.keys.numel() * layer.keys.element_size()
        if layer.keys.untyped_storage().nbytes() > 2 * needed:
            layer.keys, layer.values = layer.keys.clone(), layer.values.clone()
