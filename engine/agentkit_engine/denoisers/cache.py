"""Keys and values of prefixes: shared, lent to one pass, extended, stacked for several prefixes.

Knows the dynamic caches of transformers, in which every layer holds [B, heads, keys, head_dim].
Must not know models or masks. Tensors of a prefix are never written to: all that changes a cache
makes another one over the same tensors.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from agentkit_engine.denoisers.base import Prefix
from agentkit_engine.errors import EngineError

Fresh: TypeAlias = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values that a pass adds to each layer, [1, heads, T, head_dim]."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Memory:
    """What an encoded prefix is remembered by.

    Attributes:
        cache: keys and values; a sliding layer holds those within its window only.
        state: [H], what the head makes the next token's logits of; None behind a rewind.
    """

    cache: DynamicCache
    state: torch.Tensor | None


def memory_of(prefix: Prefix) -> Memory:
    """The memory of a prefix of this family; raises EngineError for one of another family."""
    if not isinstance(prefix.memory, Memory):
        raise EngineError("this prefix was encoded by a denoiser of another family; encode it anew")
    return prefix.memory


def share(cache: DynamicCache, *, rows: int = 1) -> DynamicCache:
    """A cache of its own over the same tensors, seen by `rows` rows (views, nothing is copied).

    A dynamic layer grows by concatenation into new tensors, so the given cache never changes.
    """
    shared = _with_layers(cache, [copy.copy(layer) for layer in cache.layers])
    if rows > 1:
        for layer in layers_of(shared):
            layer.keys = layer.keys.expand(rows, -1, -1, -1)
            layer.values = layer.values.expand(rows, -1, -1, -1)
    return shared


def shorten(cache: DynamicCache, length: int) -> DynamicCache:
    """The first `length` tokens of a cache whose layers still hold all of them."""
    shorter = share(cache)
    for layer in layers_of(shorter):
        layer.keys, layer.values = layer.keys[:, :, :length], layer.values[:, :, :length]
        if _slides(layer):
            layer.cumulative_length = length
    return shorter


def lend(cache: DynamicCache) -> DynamicCache:
    """A cache for one pass, which shows `cache` and afterwards holds only what the pass added."""
    return _with_layers(cache, [_LentLayer(layer) for layer in cache.layers])


def extend(cache: DynamicCache, fresh: Fresh, places: torch.Tensor) -> DynamicCache:
    """`cache` and behind it what stands at `places` [n] of `fresh`."""
    extended = share(cache)
    for layer, (keys, values) in zip(layers_of(extended), fresh, strict=True):
        layer.keys = torch.cat((layer.keys, keys[:, :, places]), dim=-2)
        layer.values = torch.cat((layer.values, values[:, :, places]), dim=-2)
        if _slides(layer):
            layer.cumulative_length += len(places)
            gone = max(0, layer.keys.shape[-2] - layer.sliding_window + 1)
            layer.keys, layer.values = layer.keys[:, :, gone:], layer.values[:, :, gone:]
    release(extended)
    return extended


def release(cache: DynamicCache) -> None:
    """Lets go of what left a sliding layer's window, of which the layer still holds the storage."""
    for layer in layers_of(cache):
        needed = layer.keys.numel() * layer.keys.element_size()
        if layer.keys.untyped_storage().nbytes() > 2 * needed:
            layer.keys, layer.values = layer.keys.clone(), layer.values.clone()


def nbytes(memory: Memory) -> int:
    """Bytes of the storage that a memory keeps alive."""
    tensors = [t for layer in layers_of(memory.cache) for t in (layer.keys, layer.values)]
    if memory.state is not None:
        tensors.append(memory.state)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def layers_of(cache: DynamicCache) -> list[Any]:
    """Its layers, all of them filled."""
    return list(cache.layers)


class Stack:
    """The caches of several prefixes as one batch, zeros behind the shorter ones.

    Kept while the same prefixes come again, as they do from step to step; let go of with the first
    of them that is no longer in use.
    """

    def __init__(self) -> None:
        self._members: tuple[weakref.ref[Memory], ...] = ()
        self._cache: DynamicCache | None = None

    def of(self, memories: Sequence[Memory]) -> DynamicCache:
        """One cache of which row i is that of `memories[i]`; not to be written to."""
        cache = self._cache
        if cache is None or [member() for member in self._members] != list(memories):
            cache = _stacked([memory.cache for memory in memories])
            self._members = tuple(weakref.ref(memory, self._forget) for memory in memories)
            self._cache = cache
        return cache

    def _forget(self, gone: weakref.ref[Memory]) -> None:
        if any(member is gone for member in self._members):
            self._members, self._cache = (), None


def _stacked(caches: Sequence[DynamicCache]) -> DynamicCache:
    stacked = share(caches[0])
    for index, layer in enumerate(layers_of(stacked)):
        members = [layers_of(cache)[index] for cache in caches]
        layer.keys = _padded([member.keys for member in members])
        layer.values = _padded([member.values for member in members])
    return stacked


def _padded(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """[1, heads, keys, head_dim] each to [len(parts), heads, most keys, head_dim]."""
    _, heads, _, dim = parts[0].shape
    whole = parts[0].new_zeros(len(parts), heads, max(part.shape[-2] for part in parts), dim)
    for row, part in zip(whole, parts, strict=True):
        row[:, : part.shape[-2]] = part[0]
    return whole


class _LentLayer(DynamicLayer):
    """A layer that shows the keys and values of another one, and keeps only what is new."""

    def __init__(self, past: Any) -> None:
        super().__init__()
        self._past = past

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values, self.is_initialized = key_states, value_states, True
        keys = torch.cat((self._past.keys, key_states), dim=-2)
        return keys, torch.cat((self._past.values, value_states), dim=-2)


def _with_layers(cache: DynamicCache, layers: list[Any]) -> DynamicCache:
    made = copy.copy(cache)
    made.layers = layers
    return made


def _slides(layer: Any) -> bool:
    """Only a sliding layer counts what it has seen in all."""
    return hasattr(layer, "cumulative_length")
