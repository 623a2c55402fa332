"""What a request may ask for at most.

Knows the limits and the fields they stand in. Must not know what is done with any of them.
"""

from __future__ import annotations

from agentkit_engine.server.limits import Limits
from agentkit_engine.server.native.infilling import Infilling
from agentkit_engine.server.native.wire import Opening, Settings
from agentkit_engine.server.transport.problems import Refused


def check_opening(opening: Opening, limits: Limits) -> None:
    """
    Raises:
        Refused: more tools than the limits have.
    """
    _at_most("tools", len(opening.tools), limits.tools)


def check_settings(settings: Settings, limits: Limits) -> None:
    """
    Raises:
        Refused: they ask for more than the limits have.
    """
    _at_most("settings.steps", settings.steps, limits.steps)
    _at_most("settings.max_calls", settings.max_calls, limits.calls)
    _at_most("settings.max_tokens", settings.max_tokens, limits.tokens)


def check_infilling(asked: Infilling, limits: Limits, *, vocabulary: int) -> None:
    """
    Args:
        vocabulary: how many tokens the model knows.

    Raises:
        Refused: it asks for more than the limits have, or names tokens that there are not.
    """
    _at_most("steps", asked.steps, limits.steps)
    _at_most("rounds", asked.rounds, limits.steps)  # each is a denoising at least
    _at_most("candidates", asked.candidates, limits.candidates)
    _at_most("width", asked.width, limits.tokens)
    most = getattr(asked.template, "max_tokens", None)  # not all kinds have it
    _at_most("template.max_tokens", most, limits.tokens)
    if asked.bias is not None:
        bias = asked.bias.bias()
        _at_most("bias.banned", max(bias.banned, default=0), vocabulary - 1)
        _at_most("bias.preferred", max(bias.preferred, default=0), vocabulary - 1)


def _at_most(field: str, asked: int | str | None, most: int) -> None:
    """None and words ("auto") leave it to the engine, which has limits of its own."""
    if isinstance(asked, int) and asked > most:
        why = f"{field} is {asked}; at most {most} can be had here"
        raise Refused(422, "InvalidRequest", why, field)
