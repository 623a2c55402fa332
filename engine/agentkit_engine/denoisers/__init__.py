"""The model families: each turns a prefix and noisy canvases into logits.

They know tensors and token ids. They must not know what is being filled.
"""

from __future__ import annotations

from agentkit_engine.denoisers.base import Denoiser, Prefix
from agentkit_engine.denoisers.diffusion_gemma import DiffusionGemmaDenoiser

__all__ = ["Denoiser", "DiffusionGemmaDenoiser", "Prefix"]
