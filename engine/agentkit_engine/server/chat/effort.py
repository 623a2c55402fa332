"""What chats tell beyond their APIs: what a turn took, and how sure the model is.

Knows what came of a turn. Must not know any API.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from agentkit_engine.server.chat.asked import Turned


def about_json(turned: Sequence[Turned]) -> dict[str, Any]:
    """What this engine tells beyond the API: what it took, and how sure the model is."""
    return {
        "forwards": sum(one.decision.forwards for one in turned),
        "passes": sum(one.decision.passes for one in turned),
        "choices": [_about(one) for one in turned],
    }


def _about(turned: Turned) -> dict[str, Any]:
    decision = turned.decision
    return {
        "forwards": decision.forwards,
        "passes": decision.passes,
        "agreed": decision.agreed,
        "elapsed": decision.elapsed,
        "timings": asdict(decision.timings),
        "choice": dict(decision.choice),
        "confidence": dict(decision.confidence),
        "calls": [
            {"id": call.id, "confidence": dict(decided.confidence)}
            for call, decided in zip(turned.calls, decision.calls, strict=True)
        ],
        "stopped_by": turned.stopped_by,
        "seed": turned.seed,
    }
