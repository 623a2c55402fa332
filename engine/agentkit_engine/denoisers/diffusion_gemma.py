"""DiffusionGemma as transformers has it (`DiffusionGemmaForBlockDiffusion`), behind `Denoiser`.

Knows that class and its masks. Must not know tokenizers, templates or automata.

All masks are written here and handed over as a dict of 4-D additive masks. The model's own defaults
would let a canvas see everything in the cache, and it builds its encoder masks twice a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from transformers import DiffusionGemmaForBlockDiffusion, DynamicCache

from agentkit_engine.denoisers.base import Prefix
from agentkit_engine.denoisers.cache import (
    Memory,
    Stack,
    layers_of,
    lend,
    memory_of,
    nbytes,
    release,
    share,
    shorten,
)
from agentkit_engine.denoisers.reading import Pass, Read, Row, TreeReading, packs, tree_of
from agentkit_engine.denoisers.rows import (
    pack,
    prefix_and_width,
    require_room,
    unpack,
    whole_context,
)
from agentkit_engine.errors import EngineError

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

    causal = True

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
        self._stack = Stack()
        self.vocab_size = int(text.vocab_size)
        self.canvas_length = int(config.canvas_length)
        self.context_length = int(text.max_position_embeddings)

    @property
    def device(self) -> torch.device:
        return self._model.device

    @torch.inference_mode()
    def encode(self, tokens: Sequence[int], *, prefix: Prefix | None = None) -> Prefix:
        """Encodes `tokens` behind `prefix`, see `Denoiser.encode`."""
        whole = whole_context(self, tokens, prefix)
        if prefix is not None and not tokens:
            return prefix
        new: Any = DynamicCache  # not annotated
        cache = new(config=self._text) if prefix is None else share(memory_of(prefix).cache)
        states = torch.empty(0)
        for start in range(len(whole) - len(tokens), len(whole), _CHUNK):
            chunk = whole[start : start + _CHUNK]
            positions = torch.arange(start, start + len(chunk), device=self.device)
            states = self._encode(cache, chunk, positions, self._causal_masks(start, len(chunk)))
        release(cache)
        return Prefix(whole, Memory(cache, states[-1].clone()))

    @torch.inference_mode()
    def rewind(self, prefix: Prefix, length: int) -> Prefix | None:
        """The first `length` tokens of `prefix`, see `Denoiser.rewind`."""
        if length == prefix.length:
            return prefix
        if not 0 < length < prefix.length or self._kept(prefix.length) < prefix.length:
            return None
        cache = shorten(memory_of(prefix).cache, length)
        return Prefix(prefix.tokens[:length], Memory(cache, None))

    def nbytes(self, prefix: Prefix) -> int:
        """Bytes that `prefix` keeps alive, see `Denoiser.nbytes`."""
        return nbytes(memory_of(prefix))

    @torch.inference_mode()
    def denoise(
        self,
        prefix: Prefix | Sequence[Prefix],
        canvas: torch.Tensor,
        *,
        attend: torch.Tensor | None = None,
        previous: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One decoder forward over all rows, see `Denoiser.denoise`."""
        prefixes, widths = prefix_and_width(self, prefix, canvas, attend)
        canvas = canvas.to(self.device)
        filled = sum(widths) / canvas.numel()
        if any(other is not prefixes[0] for other in prefixes):
            return self._denoise_packed(prefixes, canvas, attend, previous)
        if attend is None or filled == 1:
            return self._denoise_rows(prefixes[0], canvas, None, previous)
        if filled > _DENSE:
            return self._denoise_rows(prefixes[0], canvas, attend.to(self.device), previous)
        return self._denoise_packed(prefixes, canvas, attend, previous)

    @torch.inference_mode()
    def read(self, prefix: Prefix, rows: Sequence[Sequence[int]]) -> TreeReading:
        """One causal pass over the tree of all rows, see `Denoiser.read`."""
        past, memory = prefix.length, memory_of(prefix)
        require_room(self, past + max(map(len, rows), default=0))
        asked = [Row(past, tuple(row)) for row in rows]
        if memory.state is None:  # rewound: its last token is looked at again, as a row like others
            last = Row(past - 1, prefix.tokens[-1:])
            (found, *read) = self._read(memory.cache, past, [last, *asked])
            prefix = Prefix(prefix.tokens, Memory(memory.cache, found.states[-1].clone()))
        else:
            read = self._read(memory.cache, past, asked)
        return TreeReading(prefix, read, self._head)

    def _read(self, cache: DynamicCache, past: int, rows: Sequence[Row]) -> list[Read]:
        """All rows, in passes of no more than a chunk's tokens each."""
        read: list[Read] = []
        for together in packs(rows, _CHUNK):
            tree = tree_of(together)
            lent = lend(cache)
            states = torch.empty(0, self._text.hidden_size, device=self.device)
            if tree.tokens:
                positions = torch.tensor(tree.positions, device=self.device)
                masks = self._reading_masks(past, tree.visible().to(self.device), positions)
                states = self._encode(lent, tree.tokens, positions, masks)
            run = Pass(states, [(layer.keys, layer.values) for layer in layers_of(lent)])
            for row, path in zip(together, tree.paths, strict=True):
                nodes = torch.tensor(path, dtype=torch.long, device=self.device)
                read.append(Read(row.tokens, run, nodes))
        return read

    def _encode(
        self, cache: DynamicCache, tokens: Sequence[int], positions: torch.Tensor, masks: Masks
    ) -> torch.Tensor:
        """One encoder forward over one sequence, which the cache takes in; its states [n, H]."""
        output = self._model.model.encoder(
            input_ids=torch.tensor([tokens], device=self.device),
            attention_mask=masks,
            position_ids=positions[None],
            past_key_values=cache,
        )
        states: torch.Tensor = output.last_hidden_state
        return states[0]

    def _head(self, states: torch.Tensor) -> torch.Tensor:
        """[n, H] to [n, V] logits, as the model's own forward makes them."""
        model: Any = self._model
        cap = model.final_logit_softcapping
        logits: torch.Tensor = model.lm_head(states).float()
        return logits.div_(cap).tanh_().mul_(cap)

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
        cache = share(memory_of(prefix).cache, rows=rows)
        return self._decode(cache, canvas, masks, positions, previous)

    def _denoise_packed(
        self,
        prefixes: Sequence[Prefix],
        canvas: torch.Tensor,
        attend: torch.Tensor | None,
        previous: torch.Tensor | None,
    ) -> torch.Tensor:
        """The rows of each prefix in one sequence that sees it once; one sequence a prefix.

        The same function as each row alone: positions start anew in each row, and a row sees only
        its prefix and itself. Only where sequences differ in length is padding computed.
        """
        width = canvas.shape[1]
        groups, cells = pack(prefixes, attend, canvas)
        back = unpack(cells, canvas.numel())
        cells = cells.to(self.device)
        lengths = [prefix.length for prefix in groups]
        owners, columns = cells.div(width, rounding_mode="floor"), cells % width
        own = owners[:, :, None] == owners[:, None]  # padding is a row of its own: it sees itself

        def over(keys: Sequence[int]) -> torch.Tensor:
            held = torch.tensor(keys, device=self.device)[:, None, None]
            past = torch.arange(max(keys), device=self.device) < held
            visible = torch.cat((past.expand(-1, own.shape[1], -1), own), dim=-1)
            return self._additive(visible)[:, None]

        masks: Masks = {_FULL: over(lengths), _SLIDING: over([self._kept(n) for n in lengths])}
        positions = torch.tensor(lengths, device=self.device)[:, None] + columns
        memories = [memory_of(prefix) for prefix in groups]
        cache = share(memories[0].cache) if len(groups) == 1 else self._stack.of(memories)
        spread = cells.clamp(min=0)
        if previous is not None:
            flat = previous.to(self.device).flatten(0, 1)
            previous = flat.view(*cells.shape, -1) if back is None else flat[spread]
        found = self._decode(cache, canvas.flatten()[spread], masks, positions, previous)
        logits = found.flatten(0, 1)
        return (logits if back is None else logits[back.to(self.device)]).view(*canvas.shape, -1)

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

    def _kept(self, past: int) -> int:
        """How many of `past` encoded tokens a sliding layer still holds."""
        return min(past, self._window - 1)

    def _causal_masks(self, past: int, new: int) -> Masks:
        """Masks for encoding `new` tokens behind `past`: [1, 1, new, keys held + new]."""
        if new == 1:  # it may see every key that a layer still holds, whatever the layer
            return {_FULL: None, _SLIDING: None}
        own = torch.ones(new, new, dtype=torch.bool, device=self.device).tril()
        return self._reading_masks(past, own, torch.arange(past, past + new, device=self.device))

    def _reading_masks(self, past: int, own: torch.Tensor, positions: torch.Tensor) -> Masks:
        """Masks for one sequence of T tokens behind `past`: [1, 1, T, keys held + T].

        A token sees what stands before its own position in the past, and by `own` [T, T] of the
        sequence. The window of a sliding layer is counted in positions.
        """
        query = positions[:, None]
        key = torch.arange(past, device=self.device)
        visible = torch.cat((key[None] < query, own), dim=-1)
        near = visible & (query - torch.cat((key, positions))[None] < self._window)
        return {
            _FULL: self._additive(visible)[None, None],
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
