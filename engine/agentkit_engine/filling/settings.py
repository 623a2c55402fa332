"""How a filling is made: what may be said beside what is to be filled.

Knows names and defaults. Must not know what they lead to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypedDict, get_args

from agentkit_engine.errors import TemplateError
from agentkit_engine.lattice import Bias
from agentkit_engine.layouts.maker import Layout

Steps: TypeAlias = int | Literal["auto"]
Verify: TypeAlias = Literal["off", "rerank", "exact"]
Batch: TypeAlias = Literal["whole", "choice-first"]

_MOST_STEPS = 48  # of "auto"; as many as the model's published sampler takes


class FillingOptions(TypedDict, total=False):
    """The options of every filling.

    steps: decoder forwards of a denoising, at most; 1 by default. "auto": until nothing changes and
        the model is nearly certain, 48 at most. With more than one, the published entropy-bound
        sampler accepts and renoises; it stops where all that is wanted is sure.
    verify: what the causal encoder has to say, see the docs. "exact", the default where the family
        has such an encoder and the checkpoint was trained to say such things (`Dialect.spoken`):
        every token is what constrained greedy decoding would write. "rerank": one pass picks among
        the best fillings. "off": the denoised filling as it is; then `steps` is the number of all
        forwards; it is the default for text before other text, too (`Template.infill`,
        `Template.edit`), and what takes several canvases is not verified.
    rounds: of "exact", at most; 8 by default. A round is a denoising and a pass.
    candidates: fillings that "rerank" reads; 16 by default.
    temperature: of drafts, at the first step and at the last; 0, the default, takes the best
        filling, else it is an exact sample of the constrained posterior, and verify is "off" by
        default.
    seed: of noise and samples. The same seed gives the same filling on the same machine, up to what
        rounding does to ties: which rows share a forward, and `batch`, may tip them.
    layout: "slots" or "float"; by default the checkpoint's first.
    bias: nats for longer fillings, for preferred tokens, and tokens that are banned.
    """

    steps: Steps
    verify: Verify
    rounds: int
    candidates: int
    temperature: float | tuple[float, float]
    seed: int
    layout: Layout
    bias: Bias


class DecidingOptions(FillingOptions, total=False):
    """The options of a decision: those of a filling, and

    max_calls: calls of one turn, at most; 1 by default.
    must_call: whether one is made in any case, and nothing answered.
    answer_tokens: of an answer in words, at most; by default as many as the checkpoint was taught,
        which is also the most, or one canvas. An answer by a schema is as long as that says.
    batch: "whole" batches the choice with all candidates, "choice-first" fills only what was
        chosen, in a forward of its own, as it is in any case where a call takes several canvases;
        by default what is cheaper by the forwards measured so far.
    """

    max_calls: int
    must_call: bool
    answer_tokens: int
    batch: Batch | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`FillingOptions` with their defaults; None: it depends on the checkpoint."""

    steps: Steps = 1
    verify: Verify | None = None
    rounds: int = 8
    candidates: int = 16
    temperature: float | tuple[float, float] = 0.0
    seed: int = 0
    layout: Layout | None = None
    bias: Bias | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "rounds", "candidates"):
            count = getattr(self, name)
            if count != "auto" and count < 1:
                raise TemplateError(f"{name} is {count}; at least 1 is needed")
        if not all(0 <= one < math.inf for one in self.temperatures):
            raise TemplateError(
                f"temperature is {self.temperature}; it can't be below 0, and must be finite"
            )
        if self.verify not in (None, *get_args(Verify)):
            raise TemplateError(
                f"verify is {self.verify!r}; take one of {', '.join(get_args(Verify))}"
            )

    @property
    def most_steps(self) -> int:
        return _MOST_STEPS if self.steps == "auto" else self.steps

    @property
    def temperatures(self) -> tuple[float, float]:
        """At the first step and at the last."""
        if isinstance(self.temperature, tuple):
            return self.temperature
        return self.temperature, self.temperature

    def temperature_at(self, step: int) -> float:
        """The temperature of a step, counted from 1: it changes in a straight line."""
        first, last = self.temperatures
        return first + (last - first) * (step - 1) / max(1, self.most_steps - 1)

    def verify_by(self, causal: bool) -> Verify:
        """The mode of verifying, for a family with or without a causal encoder.

        Raises:
            TemplateError: it can't do what was asked.
        """
        if self.verify is None:
            return "exact" if causal and max(self.temperatures) == 0 else "off"
        if self.verify != "off" and not causal:
            raise TemplateError(
                f"verify={self.verify!r} needs a causal encoder, which this model family has not; "
                "take verify='off'"
            )
        return self.verify
