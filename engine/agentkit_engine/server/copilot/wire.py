"""The fields that all requests for a hole to be filled have.

Knows names and what can't be honoured. Must not know routes, nor how a hole is filled.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from agentkit_engine.filling.settings import FillingOptions, Steps, Verify
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.transport.problems import Refused

_SEEDS = 2**31
_STEPS = 8  # a hole's text is better for a few; more of them change little


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Texts = Annotated[Annotated[list[str], Field(max_length=16)] | None, BeforeValidator(_listed)]


class StreamOptions(BaseModel):
    """include_usage: a last event tells what all of it took."""

    include_usage: bool | None = None


class CopilotForm(BaseModel):
    """A request's body; what it says beside the names known here is ignored.

    user: who asks, so that a newer request ends an older one.
    steps, verify: as `Session.infill` takes them; no other API has them.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    # what can't be had, but for the values that ask for nothing
    unheard: ClassVar[Mapping[str, tuple[object, ...]]] = {}

    model: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    seed: int | None = None
    stop: Texts = None
    stream: bool | None = None
    user: str | None = None
    steps: Positive | Literal["auto"] | None = None
    verify: Literal["off", "rerank"] | None = None

    def require_heard(self, limits: Limits) -> None:
        """
        Raises:
            Refused: something can't be honoured, or is more than is let; names the field.
        """
        for name, harmless in self.unheard.items():
            value: Any = getattr(self, name)
            if value is not None and value not in harmless:
                why = f"{name} is not supported; leave it out"
                raise Refused(400, "UnsupportedParameter", why, name)
        if isinstance(self.steps, int):
            at_most("steps", self.steps, limits.steps)

    def options(self) -> FillingOptions:
        """What is said of the denoising. Without a temperature the likeliest text is taken."""
        steps: Steps = self.steps or _STEPS
        options = FillingOptions(steps=steps)
        if self.temperature:
            options["temperature"] = self.temperature
            options["seed"] = secrets.randbelow(_SEEDS)
        if self.seed is not None:
            options["seed"] = self.seed
        if self.verify is not None:
            verify: Verify = self.verify
            options["verify"] = verify
        return options


def at_most(field: str, asked: int, most: int) -> None:
    """
    Raises:
        Refused: more is asked for than is let.
    """
    if asked > most:
        raise Refused(400, "InvalidRequest", f"{field} is {asked}; {most} is the most", field)
