"""The model families: each turns a prefix and noisy canvases into logits.

They know tensors and token ids. They must not know what is being filled.

base             what the engine asks of a family: prefixes, readings, denoise steps
diffusion_gemma  uniform noise, a causal encoder, self-conditioning
masked           masked language models, bidirectional throughout
cache            keys and values of prefixes, shared and extended without a copy
reading          many rows behind one prefix, read in one causal pass
rows             what is given, checked and packed
"""

from __future__ import annotations

from transformers import DiffusionGemmaForBlockDiffusion, PreTrainedModel

from agentkit_engine.denoisers.base import Denoiser, Prefix, Reading
from agentkit_engine.denoisers.diffusion_gemma import DiffusionGemmaDenoiser
from agentkit_engine.denoisers.masked import MaskedDenoiser

__all__ = [
    "Denoiser",
    "DiffusionGemmaDenoiser",
    "MaskedDenoiser",
    "Prefix",
    "Reading",
    "denoiser_of",
]


def denoiser_of(model: PreTrainedModel, *, shift: bool = False) -> Denoiser:
    """The denoiser of the family that `model` belongs to.

    Args:
        shift: of a masked model, the logits at a position predict the next one's token.
    """
    if isinstance(model, DiffusionGemmaForBlockDiffusion):
        return DiffusionGemmaDenoiser(model)
    return MaskedDenoiser(model, shift=shift)
