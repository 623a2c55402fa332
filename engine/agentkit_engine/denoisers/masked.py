"""Masked diffusion: any masked language model, behind `Denoiser`.

Knows models of transformers that predict what stands at mask tokens, BERT-like ones and, through
their own code, those of the kind of LLaDA (arXiv 2502.09992) and Dream (2508.15487). Must not know
tokenizers, templates or automata.

Attention is bidirectional throughout, so nothing of a prefix can be kept: it goes along with every
forward, and there is no causal reading.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from agentkit_engine.denoisers.base import Prefix
from agentkit_engine.denoisers.rows import prefix_and_width, whole_context
from agentkit_engine.errors import EngineError

_CANVAS = 256
# In these, by their `model_type`, what stands behind a text leaks into it whatever the mask says:
# convolutions, Fourier transforms, pooled or hashed attention.
_LEAKY = ("convbert", "fnet", "funnel", "mra", "nystromformer", "reformer", "yoso")


class MaskedDenoiser:
    """A `Denoiser` over a loaded masked language model, on the device and in the dtype it has."""

    causal = False

    def __init__(
        self, model: PreTrainedModel, *, canvas_length: int | None = None, shift: bool = False
    ) -> None:
        """
        Args:
            canvas_length: the widest canvas, in tokens, as far as the model has positions; by
                default 256, or half of its positions where they are few.
            shift: the logits at a position predict the token at the next one, as Dream's do.
        """
        config: Any = model.config
        self._model = model.eval()
        self._shift = int(shift)
        forward: Any = model.forward
        known = type(model).__module__.startswith("transformers.")
        # code from elsewhere may read a mask of padding in its own way: it is spared any
        self._pads = known and config.model_type not in _LEAKY
        self._positions = known and "position_ids" in inspect.signature(forward).parameters
        self._first = _first_position(model)
        self.vocab_size = int(config.vocab_size)
        self.context_length = _positions(config) - self._first
        if canvas_length is None:
            canvas_length = min(_CANVAS, self.context_length // 2)
        self.canvas_length = min(canvas_length, self.context_length)

    @property
    def device(self) -> torch.device:
        return self._model.device

    def encode(self, tokens: Sequence[int], *, prefix: Prefix | None = None) -> Prefix:
        """`tokens` behind `prefix`, nothing computed, see `Denoiser.encode`."""
        whole = whole_context(self, tokens, prefix)
        return prefix if prefix is not None and not tokens else Prefix(whole, None)

    def rewind(self, prefix: Prefix, length: int) -> Prefix | None:
        """The first `length` tokens of `prefix`, see `Denoiser.rewind`."""
        if length == prefix.length:
            return prefix
        return Prefix(prefix.tokens[:length], None) if 0 < length < prefix.length else None

    def read(self, prefix: Prefix, rows: Sequence[Sequence[int]]) -> NoReturn:
        """Raises EngineError: `causal` is False."""
        raise EngineError("this family has no causal encoder; take verify='off'")

    def nbytes(self, prefix: Prefix) -> int:
        """0: nothing of a prefix stays on the device."""
        return 0

    @torch.inference_mode()
    def denoise(
        self,
        prefix: Prefix | Sequence[Prefix],
        canvas: torch.Tensor,
        *,
        attend: torch.Tensor | None = None,
        previous: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One forward over all rows and their prefixes, see `Denoiser.denoise`.

        `previous` is left aside: these models have no self-conditioning. A model that can't be
        trusted with padding takes one forward for each length there is among the rows.
        """
        prefixes, widths = prefix_and_width(self, prefix, canvas, attend)
        contexts = {id(each): torch.tensor(each.tokens) for each in prefixes}
        rows = [
            torch.cat((contexts[id(context)], row[:width]))
            for context, row, width in zip(prefixes, canvas.cpu(), widths, strict=True)
        ]
        logits = torch.zeros(*canvas.shape, self.vocab_size, device=self.device)
        for members in self._batches([len(row) for row in rows]):
            found = self._forward([rows[row] for row in members])
            for place, row in zip(found, members, strict=True):
                start, width = prefixes[row].length - self._shift, widths[row]
                logits[row, :width] = place[start : start + width]
        return logits

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Which rows go in one forward."""
        if self._pads:
            yield list(range(len(lengths)))
            return
        for length in sorted(set(lengths)):
            yield [row for row, other in enumerate(lengths) if other == length]

    def _forward(self, rows: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits [B, longest, V] of whole rows, padded behind where they differ in length."""
        tokens = pad_sequence(list(rows), batch_first=True).to(self.device)
        given: dict[str, torch.Tensor] = {}
        longest = tokens.shape[1]
        if any(len(row) < longest for row in rows):
            lengths = torch.tensor([len(row) for row in rows])[:, None]
            given["attention_mask"] = (torch.arange(longest) < lengths).long().to(self.device)
        if self._positions:  # some classes would count them by what is no padding token
            places = torch.arange(self._first, self._first + longest, device=self.device)
            given["position_ids"] = places.expand(len(rows), -1)
        logits: torch.Tensor = self._model(input_ids=tokens, **given).logits
        return logits


def _positions(config: Any) -> int:
    """How many positions a model has, in the words of its configuration."""
    for name in ("max_position_embeddings", "max_sequence_length"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    raise EngineError(
        f"the configuration of {config.model_type!r} does not say how long a context may be; "
        "set 'max_position_embeddings' in its config.json"
    )


def _first_position(model: nn.Module) -> int:
    """The position of a text's first token: behind the padding's own, where that has one."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
