"""A DiffusionGemma with a LoRA in it, as it is trained: one stack run two ways, one adapter.

Knows peft and the transformers class. Must not know what is on canvases, or optimisers.

transformers holds the stack twice, as encoder and as decoder over the same weights, and peft would
give each an adapter of its own: they could not be merged. Here the two have the very same modules,
so that what one way learns the other knows. Experts and router stay as they are: the experts are
fused into tensors of three axes, of which peft would compute all adapted ones a forward anew.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from agentkit_engine.adapter import (
    PREFIX,
    WEIGHTS,
    both_sides,
    require_peft,
    scale_embeddings,
)
from agentkit_engine.finetuned import ADAPTER_CONFIG

_PARTS = {
    "self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}
_TARGETS = (
    r"model\.(encoder\.language_model|decoder)\.layers\.\d+"
    r"\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
)


class Adapted:
    """A model with an adapter to train; the model itself is changed in place and frozen.

    Attributes:
        model: the DiffusionGemma, whose own forward is what is trained.
        trained: the adapter's parameters, each once, in float32.
    """

    def __init__(
        self, model: Any, *, base: str, rank: int, alpha: int, tokens: Sequence[int] = ()
    ) -> None:
        """
        Args:
            base: the model's name, which the adapter will ask for.
            rank, alpha: of the LoRA on the projections of attention and of the dense MLP.
            tokens: ids whose embeddings, and so output rows, are trained as well.
        """
        peft = require_peft()
        config = peft.LoraConfig(
            r=rank,
            lora_alpha=alpha,
            target_modules=_TARGETS,
            trainable_token_indices={"embed_tokens": list(tokens)} if tokens else None,
        )
        with warnings.catch_warnings(action="ignore"):  # of ties; they are taken care of below
            self._wrapped = peft.get_peft_model(model, config)
        config.base_model_name_or_path = base  # peft wrote where the model was loaded from
        self._peft, self._config, self.model = peft, config, model
        scale_embeddings(model)
        _share(model)
        self.trained = [weight for weight in model.parameters() if weight.requires_grad]
        for weight in self.trained:
            weight.data = weight.data.float()
        _checkpoint_layers(model)
        model.train()

    def save(self, folder: Path) -> None:
        """Writes the adapter as peft does, under the names of both stacks."""
        written = {key: _plain(value) for key, value in self._config.to_dict().items()}
        written["inference_mode"] = True
        (folder / ADAPTER_CONFIG).write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
        weights = {name: weight.contiguous().cpu() for name, weight in self._state().items()}
        save_file(both_sides(weights), folder / WEIGHTS, metadata={"format": "pt"})

    def load(self, folder: Path) -> None:
        """Takes over the weights of an adapter that `save` wrote."""
        saved = load_file(folder / WEIGHTS)
        weights = {name: saved[name] for name in self._state()}
        with warnings.catch_warnings(action="ignore"):
            self._peft.set_peft_model_state_dict(self._wrapped, weights)

    def _state(self) -> dict[str, Tensor]:
        # whole embeddings are never wanted, and peft would ask the hub whether they are
        state: dict[str, Tensor] = self._peft.get_peft_model_state_dict(
            self._wrapped, save_embedding_layers=False
        )
        return {
            name: weight.detach()
            for name, weight in state.items()
            if name.startswith(PREFIX + "model.encoder.")
        }


def _plain(value: Any) -> Any:
    """A value of peft's configuration as JSON has it."""
    if isinstance(value, set):
        return sorted(value)
    return getattr(value, "value", value)


def _share(model: Any) -> None:
    """Lets the decoder use the encoder's adapted modules; the head is tied to the encoder's."""
    encoder, decoder = model.model.encoder.language_model, model.model.decoder
    decoder.embed_tokens = encoder.embed_tokens
    for ours, theirs in zip(encoder.layers, decoder.layers, strict=True):
        for part, names in _PARTS.items():
            source, target = getattr(ours, part), getattr(theirs, part)
            for name in names:
                setattr(target, name, getattr(source, name))


class _Fresh:
    """Takes the place of a cache for one layer, and keeps what the layer puts into it."""

    def __init__(self) -> None:
        self.kept: tuple[Tensor, Tensor] | None = None

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.kept = keys, values
        return keys, values


def _checkpoint_layers(model: Any) -> None:
    """Lets every layer forget its activations, and compute them again for the gradient.

    The library does so with the decoder only, as a second run of an encoder layer would put its
    keys into the cache twice. Here they come out of the layer and are put there once.
    """
    encoder, decoder = model.model.encoder.language_model, model.model.decoder
    for index, layer in enumerate(encoder.layers):
        layer.forward = partial(_encode_again, layer.forward, index)
    for layer in decoder.layers:
        layer.forward = partial(_decode_again, layer.forward)


def _encode_again(
    forward: Callable[..., Tensor], index: int, hidden: Tensor, *, past_key_values: Any, **rest: Any
) -> Tensor:
    """An encoder layer over an empty cache."""

    def run(hidden: Tensor) -> tuple[Tensor, ...]:
        fresh = _Fresh()
        found = forward(hidden, past_key_values=fresh, **rest)
        assert fresh.kept is not None
        return found, *fresh.kept

    output: Any = checkpoint(run, hidden, use_reentrant=False)
    past_key_values.update(*output[1:], index)
    return output[0]


def _decode_again(forward: Callable[..., Tensor], hidden: Tensor, **rest: Any) -> Tensor:
    found: Any = checkpoint(partial(forward, **rest), hidden, use_reentrant=False)
    return found
