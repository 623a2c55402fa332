"""Adapters: what peft saved of a fine-tuning goes onto a loaded model, merged into its weights.

Knows peft's LoRA and that DiffusionGemma runs one stack of weights two ways: as encoder and as
decoder. Must not know hubs, tokenizers or dialects.

The two stacks are tied, and each may have an adapter of its own. peft merges both into the one
weight they share, which is right of neither. So an adapter that is the same on both sides is merged
once; where they differ, the weight is untied first. peft is imported where it is needed.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from agentkit_engine.errors import CheckpointError
from agentkit_engine.finetuned import ADAPTER_CONFIG, read_config

WEIGHTS = "adapter_model.safetensors"
# How peft begins every name of a saved weight: its own wrappers around the model.
PREFIX = "base_model.model."

_TOKENS = ".token_adapter.trainable_tokens_delta"
_ENCODER, _DECODER = "model.encoder.language_model.", "model.decoder."
# What NeMo AutoModel writes beside an adapter. It trains one stack and saves it as the decoder's.
_NEMO = "automodel_peft_config.json"
_MODULE = re.compile(r"^(.+?)\.(?:lora_\w+|token_adapter)\b")


def require_peft() -> Any:
    """The module peft, or an error that says how to get it."""
    try:
        import peft
    except ImportError as error:
        raise CheckpointError(
            f"adapters need peft, which can't be imported: {error}; "
            "install it with `pip install 'agentkit-diffusion[adapters]'`"
        ) from error
    return peft


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA as it was saved.

    Attributes:
        folder: where it lies.
        config: peft's.
        weights: by peft's names, on the CPU.
    """

    folder: Path
    config: Any
    weights: dict[str, Tensor]


def read_adapter(folder: Path) -> Adapter:
    """Reads what peft saved.

    Raises:
        CheckpointError: peft is not installed, or the adapter is broken, or not a plain LoRA.
    """
    config, weights = _config(require_peft(), folder), _weights(folder)
    if (folder / _NEMO).is_file():
        weights = both_sides(weights)
    return Adapter(folder, config, weights)


def apply_adapter(model: Any, adapter: Adapter, *, merge: bool = True) -> None:
    """Puts an adapter onto a DiffusionGemma, in place.

    Args:
        merge: into the weights, so that a forward costs what it did; otherwise beside them, so
            that the weights stay as they are.

    Raises:
        CheckpointError: the adapter is not of this model.
    """
    config = copy.copy(adapter.config)
    weights = _merge_ready(model, adapter.weights) if merge else adapter.weights
    learned = (name for name in weights if not name.endswith(_TOKENS))
    config.target_modules = sorted(set(map(_module, learned)))
    try:
        wrapped = _inject(model, config, weights)
        if merge:
            wrapped.merge_and_unload()
        else:
            scale_embeddings(model)
    except Exception as error:  # peft has no one root for what can go wrong
        raise CheckpointError(
            f"the adapter {str(adapter.folder)!r} can't be put onto this model: {error}; "
            "load it over the model that it was trained on"
        ) from error
    model.eval().requires_grad_(False)


def both_sides(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """An adapter's saved weights under the encoder's names and the decoder's.

    Whoever loads them with peft alone, and does not merge, gets the same function, too.
    """
    return {_twin(name): weight.clone() for name, weight in weights.items()} | weights


def scale_embeddings(model: Any) -> None:
    """Lets embeddings that peft wrapped tell their scale, which self-conditioning asks them for."""
    stacks = (model.model.encoder.language_model, model.model.decoder)
    for wrapper in (stack.embed_tokens for stack in stacks):
        if not hasattr(wrapper, "embed_scale"):
            wrapper.embed_scale = wrapper.original_module.embed_scale


def _weights(folder: Path) -> dict[str, Tensor]:
    """All saved weights, by peft's names."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise CheckpointError(
            f"the adapter {str(folder)!r} has no {WEIGHTS}; save it anew, as safetensors"
        )
    try:
        weights = load_file(path)
    except Exception as error:  # what a broken file raises is safetensors' own affair
        raise CheckpointError(f"{str(path)!r} can't be read: {error}") from error
    strange = [name for name in weights if not (name.startswith(PREFIX) and _MODULE.match(name))]
    if strange or not weights:
        raise CheckpointError(
            f"{str(path)!r} is not what peft saves of a LoRA: it has {strange[:3]}"
        )
    return weights


def _config(peft: Any, folder: Path) -> Any:
    found = read_config(folder)
    if found.get("peft_type") != "LORA":
        raise CheckpointError(
            f"the adapter {str(folder)!r} is of the kind {found.get('peft_type')!r}, but only "
            "'LORA' can be loaded; merge it with the tool that made it, and load the whole"
        )
    for part in ("target_parameters", "modules_to_save"):
        if found.get(part):
            raise CheckpointError(
                f"the adapter {str(folder)!r} has {part} ({found[part]}), which can't be loaded; "
                "merge it with the tool that made it, and load the whole"
            )
    try:
        with warnings.catch_warnings(action="ignore"):  # of keys that newer versions write
            config = peft.PeftConfig.from_pretrained(str(folder))
    except Exception as error:
        raise CheckpointError(
            f"the {ADAPTER_CONFIG} of {str(folder)!r} can't be read: {error}"
        ) from error
    # The names of the weights say what is adapted, more surely than the patterns of whoever wrote
    # them: NeMo AutoModel writes names of its own model, Unsloth such as fit the vision tower.
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = None
    config.task_type = None  # NeMo AutoModel's is one that asks for methods this class has not
    return config


def _inject(model: Any, config: Any, weights: dict[str, Tensor]) -> Any:
    peft = require_peft()
    with warnings.catch_warnings(action="ignore"):  # of ties, which is what this module is about
        wrapped = peft.get_peft_model(model, config)
        loaded = peft.set_peft_model_state_dict(wrapped, weights)
    lost = [name for name in loaded.missing_keys if ".lora_" in name]  # the model's own are, too
    unknown = [*loaded.unexpected_keys, *lost]
    if unknown:
        raise ValueError(f"its weights do not fit at {sorted(unknown)[:3]}")
    return wrapped


def _merge_ready(model: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights to merge: one side of each pair that is the same, or the pair untied."""
    kept = dict(weights)
    modules: dict[str, dict[str, Tensor]] = {}
    for name, weight in weights.items():
        modules.setdefault(_module(name), {})[name] = weight
    for module in _both(modules):
        if _same(modules.get(module, {}), modules.get(_twin_of(module), {})):
            for name in modules[_twin_of(module)]:
                if not name.endswith(_TOKENS):  # rows are set, not added: twice is as good as once
                    del kept[name]
        elif module.endswith("embed_tokens"):
            raise CheckpointError(
                "the adapter adapts the encoder's embeddings otherwise than the decoder's, which "
                "can't be merged; load it with merge_adapter=False"
            )
        else:
            _untie(model, _twin_of(module))
    return kept


def _both(modules: Iterable[str]) -> list[str]:
    """The decoder's names of all modules that the encoder has as well."""
    found = {_as_decoder(module) for module in modules}
    return sorted(module for module in found if _twin_of(module) != module)


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return {_twin(name) for name in one} == other.keys() and all(
        torch.equal(weight, other[_twin(name)]) for name, weight in one.items()
    )


def _untie(model: Any, module: str) -> None:
    """Gives a module of the encoder a weight of its own."""
    try:
        linear: Any = model.get_submodule(module)
    except AttributeError:  # told with the names of all that do not fit
        return
    linear.weight = nn.Parameter(linear.weight.detach().clone(), requires_grad=False)


def _module(name: str) -> str:
    """The name of the module, in the model, that a saved weight is for."""
    found = _MODULE.match(name.removeprefix(PREFIX))
    assert found is not None  # checked when the file was read
    return found[1]


def _twin(name: str) -> str:
    """The other stack's name of a saved weight; its own where there is no other."""
    return PREFIX + _twin_of(name.removeprefix(PREFIX))


def _twin_of(module: str) -> str:
    for here, there in ((_ENCODER, _DECODER), (_DECODER, _ENCODER)):
        if module.startswith((here + "layers.", here + "embed_tokens")):
            return there + module.removeprefix(here)
    return module


def _as_decoder(module: str) -> str:
    return _twin_of(module) if module.startswith(_ENCODER) else module
