"""What is counted, for Prometheus.

Knows what a filling takes and what the engine holds. Must not know routes.
"""

from __future__ import annotations

from agentkit_engine.engine import Engine
from agentkit_engine.filling.outcome import Effort


class Meter:
    """Counts what one server does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def filled(self, effort: Effort) -> None:
        """A filling or a decision is done."""
